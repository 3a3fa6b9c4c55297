"""`langchain-openai` before the gateway: what its users get, and what is raised."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_openai.chat_models.base import OpenAIRefusalError
from pydantic import BaseModel, SecretStr

from tests.gateway.clients.model import BAD_CALL, BAD_JSON, BUSY, CUT, GOOD_CALL, JSON, SLOW, VECTOR
from tests.gateway.clients.openai_ways import TOOLS
from tests.gateway.clients.world import (
    ABSENT,
    BLOCKED_IN,
    BLOCKED_OUT,
    BLOCKED_PROMPT,
    CASES,
    ERROR,
    FORBIDDEN,
    KEY,
    NORMAL,
    ONE_AT_A_TIME,
    REFUSAL,
    REFUSE,
    SINGLE,
    Case,
    World,
)
from tests.gateway.harness import until

FILTERED = (OpenAIRefusalError, openai.ContentFilterFinishReasonError)
"""LangChain's own error; and the SDK's, by whose `parse` LangChain asks where it does not stream."""


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


def chat(world: World, model: str = REFUSE, key: str = KEY, retries: int = 0, **more: Any) -> ChatOpenAI:
    about: dict[str, Any] = {"base_url": world.base, "api_key": SecretStr(key), "http_async_client": world.http}
    return ChatOpenAI(model=model, max_retries=retries, timeout=10, **about, **more)


async def read(llm: Any, prompt: str) -> AIMessageChunk:
    """The pieces of a stream, added up as LangChain's users do."""
    pieces = [piece async for piece in llm.astream(prompt)]
    whole: AIMessageChunk = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return whole


def read_sync(llm: Any, prompt: str) -> AIMessageChunk:
    pieces = list(llm.stream(prompt))
    whole: AIMessageChunk = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return whole


async def every(llm: Any, prompt: str) -> list[tuple[bool, AIMessage]]:
    """Whether it was streamed, and the message, in each of the four ways to ask."""
    return [
        (False, await llm.ainvoke(prompt)),
        (False, await asyncio.to_thread(llm.invoke, prompt)),
        (True, await read(llm, prompt)),
        (True, await asyncio.to_thread(read_sync, llm, prompt)),
    ]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_answer_is_a_message(case: Case, world: World) -> None:
    for streamed, message in await every(chat(world), case.prompt):
        assert message.content == (case.streamed if streamed else case.whole)
        assert message.response_metadata["finish_reason"] == ("content_filter" if case.blocked else "stop")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_answer_is_a_message_by_the_responses_api_too(case: Case, world: World) -> None:
    for streamed, message in await every(chat(world, use_responses_api=True), case.prompt):
        assert message.text == (case.streamed if streamed else case.whole)
        assert message.response_metadata["status"] == ("incomplete" if case.blocked else "completed")


async def test_what_the_gateway_did_stands_in_the_headers(world: World) -> None:
    message = await chat(world, include_response_headers=True).ainvoke(BLOCKED_IN.prompt)
    assert message.response_metadata["headers"]["x-wardgate-action"] == "block"


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
async def test_what_is_blocked_is_a_bad_request_under_error(responses: bool, world: World) -> None:
    llm = chat(world, ERROR, use_responses_api=responses)
    for case in (BLOCKED_IN, BLOCKED_OUT):
        with pytest.raises(openai.BadRequestError) as caught:
            await llm.ainvoke(case.prompt)
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["code"] == "content_filter"
    with pytest.raises(openai.BadRequestError):
        await read(llm, BLOCKED_PROMPT)
    assert (await read(llm, BLOCKED_OUT.prompt)).text == BLOCKED_OUT.streamed


async def test_bound_tools_are_called_and_a_blocked_call_is_a_refusal(world: World) -> None:
    llm = chat(world).bind_tools(TOOLS)
    for _, message in await every(llm, GOOD_CALL):
        assert [c["name"] for c in message.tool_calls] == ["fetch", "wait"]
        assert message.tool_calls[0]["args"] == {"url": "https://example.org/a"}
    for _, message in await every(llm, BAD_CALL):
        assert (message.content, message.tool_calls, message.invalid_tool_calls) == (REFUSAL, [], [])
    with pytest.raises(openai.BadRequestError):
        await chat(world, ERROR).bind_tools(TOOLS).ainvoke(BAD_CALL)


# LangChain dumps the parsed object under a type that has none: pydantic warns, whatever the server.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
async def test_structured_output_is_an_object(world: World) -> None:
    llm = chat(world).with_structured_output(Trip)
    assert await llm.ainvoke(JSON) == Trip(city="Oslo", days=2)
    assert [piece async for piece in llm.astream(JSON)][-1] == Trip(city="Oslo", days=2)


METHODS: tuple[Literal["json_schema", "function_calling"], ...] = ("json_schema", "function_calling")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prompt", [BLOCKED_PROMPT, BAD_JSON], ids=["in", "out"])
async def test_structured_output_that_is_blocked_is_a_documented_error(
    method: Literal["json_schema", "function_calling"], prompt: str, world: World
) -> None:
    llm = chat(world).with_structured_output(Trip, method=method)
    with pytest.raises(FILTERED):
        await llm.ainvoke(prompt)
    with pytest.raises(FILTERED):
        [piece async for piece in llm.astream(prompt)]
    with pytest.raises(openai.BadRequestError):
        await chat(world, ERROR).with_structured_output(Trip, method=method).ainvoke(prompt)


async def test_errors_are_the_documented_ones(world: World) -> None:
    single = chat(world, key=SINGLE)
    await single.ainvoke(NORMAL.prompt)
    for ask in (single.ainvoke, lambda prompt: read(single, prompt)):
        with pytest.raises(openai.RateLimitError) as limited:
            await ask(NORMAL.prompt)
        assert limited.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    absent, forbidden = chat(world, ABSENT), chat(world, key=FORBIDDEN)
    for ask in (absent.ainvoke, lambda prompt: read(absent, prompt)):
        with pytest.raises(openai.InternalServerError) as down:
            await ask(NORMAL.prompt)
        assert down.value.status_code == 503
    for ask in (forbidden.ainvoke, lambda prompt: read(forbidden, prompt)):
        with pytest.raises(openai.AuthenticationError):
            await ask(NORMAL.prompt)


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
async def test_a_stream_that_breaks_off_is_an_api_error(responses: bool, world: World) -> None:
    with pytest.raises(openai.APIError) as caught:
        await read(chat(world, use_responses_api=responses, retries=2), CUT)
    assert caught.value.code == "upstream_broken"


async def test_a_client_that_retries_waits_for_its_turn(world: World) -> None:
    first = asyncio.create_task(chat(world, key=ONE_AT_A_TIME).ainvoke(SLOW))
    await until(world.busy)
    assert (await chat(world, key=ONE_AT_A_TIME, retries=2).ainvoke(NORMAL.prompt)).content == NORMAL.whole
    assert (await first).content == "At last."
    assert (await chat(world, retries=1).ainvoke(BUSY)).content == NORMAL.whole


def embeddings(world: World, model: str = REFUSE, key: str = KEY) -> OpenAIEmbeddings:
    # Otherwise it sends token ids of OpenAI's own models, which no other model server reads.
    return OpenAIEmbeddings(
        model=model,
        base_url=world.base,
        api_key=SecretStr(key),
        max_retries=0,
        check_embedding_ctx_length=False,
        http_async_client=world.http,
    )


async def test_embeddings_are_vectors(world: World) -> None:
    llm = embeddings(world)
    assert [tuple(v) for v in await llm.aembed_documents(["Hello", "to ada@example.com"])] == [VECTOR, VECTOR]
    assert world.vllm.requests[-1].body["input"] == ["Hello", "to [EMAIL]"]
    assert tuple(await asyncio.to_thread(llm.embed_query, "Hello")) == VECTOR
    for kind, asked in (
        (openai.BadRequestError, embeddings(world).aembed_query(BLOCKED_PROMPT)),
        (openai.InternalServerError, embeddings(world, ABSENT).aembed_query("Hello")),
        (openai.AuthenticationError, embeddings(world, key=FORBIDDEN).aembed_query("Hello")),
    ):
        with pytest.raises(kind):
            await asked
