"""The official `openai` clients, synchronous and asynchronous: every situation reads as OpenAI's documentation says."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel

from tests.gateway.clients.model import BAD_CALL, BAD_JSON, BUSY, CUT, GOOD_CALL, JSON, SAYS, SLOW, VECTOR
from tests.gateway.clients.openai_ways import TOOLS, Connect, action_of
from tests.gateway.clients.world import (
    ABSENT,
    BLOCKED_IN,
    BLOCKED_OUT,
    BLOCKED_PROMPT,
    CASES,
    ERROR,
    FORBIDDEN,
    NORMAL,
    ONE_AT_A_TIME,
    REDACTED,
    REFUSAL,
    REFUSE,
    SINGLE,
    WAIT,
    Case,
    Seen,
    World,
)
from tests.gateway.harness import until


class Trip(BaseModel):
    city: str
    days: int


class Fetch(BaseModel):
    url: str


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_answer_reads_the_same_whole_streamed_and_by_the_helper(case: Case, connect: Connect) -> None:
    way = connect()
    end = "content_filter" if case.blocked else "stop"
    assert await way.whole(case.prompt) == Seen(case.whole, end, case.action)
    streamed = Seen(case.streamed, end, case.action)
    assert await way.streamed(case.prompt) == streamed
    told = await way.helped(case.prompt)
    assert told.seen == streamed
    assert [e.content for e in told.events if e.type == "content.done"] == [case.streamed]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_two_choices_are_two_answers(case: Case, connect: Connect) -> None:
    told = await connect().helped(case.prompt, n=2)
    assert [c.message.content for c in told.final.choices] == [case.streamed] * 2


async def test_what_is_blocked_is_a_bad_request_under_error(connect: Connect) -> None:
    way = connect()
    for case in (BLOCKED_IN, BLOCKED_OUT):
        with pytest.raises(openai.BadRequestError) as caught:
            await way.whole(case.prompt, ERROR)
        check_filtered(caught.value)
    for ask in (way.streamed, way.helped):
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(BLOCKED_PROMPT, ERROR)
        check_filtered(caught.value)


def check_filtered(error: openai.BadRequestError) -> None:
    assert (error.code, error.type) == ("content_filter", "invalid_request_error")
    assert isinstance(error.body, dict)
    assert error.body["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert error.response.json()["wardgate"]["action"] == "block"
    assert error.request_id
    assert "Titan" not in str(error)


async def test_a_block_after_bytes_left_ends_the_stream_as_a_refusal_does(connect: Connect) -> None:
    assert await connect().streamed(BLOCKED_OUT.prompt, ERROR) == Seen(BLOCKED_OUT.streamed, "content_filter", "block")


async def test_the_owner_s_usage_chunk_comes_last_whatever_was_blocked(connect: Connect) -> None:
    for case in CASES.values():
        told = await connect().helped(case.prompt, stream_options={"include_usage": True})
        assert told.final.usage is not None


async def test_tool_calls_are_told_one_by_one_until_each_is_done(connect: Connect) -> None:
    way = connect()
    calls = (("fetch", SAYS[GOOD_CALL]), ("wait", "{}"))
    assert await way.whole(GOOD_CALL, tools=TOOLS) == Seen("", "tool_calls", "allow", calls)
    assert await way.streamed(GOOD_CALL, tools=TOOLS) == Seen("", "tool_calls", "allow", calls)
    told = await way.helped(GOOD_CALL, tools=TOOLS)
    done = [(e.name, e.arguments) for e in told.events if e.type == "tool_calls.function.arguments.done"]
    assert tuple(done) == calls


async def test_a_blocked_tool_call_is_a_refusal(connect: Connect) -> None:
    way = connect()
    refused = Seen(REFUSAL, "content_filter", "block")
    assert await way.whole(BAD_CALL, tools=TOOLS) == refused
    assert await way.streamed(BAD_CALL, tools=TOOLS) == refused
    assert (await way.helped(BAD_CALL, tools=TOOLS)).seen == refused
    with pytest.raises(openai.BadRequestError):
        await way.whole(BAD_CALL, ERROR, tools=TOOLS)


async def test_a_parsed_answer_is_an_object(connect: Connect) -> None:
    way = connect()
    trip = Trip(city="Oslo", days=2)
    assert (await way.parsed(JSON, Trip)).choices[0].message.parsed == trip
    told = await way.helped(JSON, response_format=Trip)
    assert told.final.choices[0].message.parsed == trip
    assert [e.parsed for e in told.events if e.type == "content.done"] == [trip]


@pytest.mark.parametrize("prompt", [BLOCKED_PROMPT, BAD_JSON], ids=["in", "out"])
async def test_a_blocked_answer_that_should_be_parsed_is_the_sdk_s_own_error(prompt: str, connect: Connect) -> None:
    way = connect()
    with pytest.raises(openai.ContentFilterFinishReasonError) as whole:
        await way.parsed(prompt, Trip)
    with pytest.raises(openai.ContentFilterFinishReasonError) as streamed:
        await way.helped(prompt, response_format=Trip)
    for error in (whole.value, streamed.value):
        assert error.completion is not None
        assert error.completion.choices[0].message.refusal == REFUSAL
    with pytest.raises(openai.BadRequestError):
        await way.parsed(prompt, Trip, ERROR)


async def test_a_parsed_tool_call_is_an_object(connect: Connect) -> None:
    way = connect()
    strict = {"name": "wait", "parameters": WAIT, "strict": True}
    tools = [pydantic_function_tool(Fetch, name="fetch"), {"type": "function", "function": strict}]
    told = await way.helped(GOOD_CALL, tools=tools)
    calls = told.final.choices[0].message.tool_calls
    assert calls[0].function.parsed_arguments == Fetch(url="https://example.org/a")
    with pytest.raises(openai.ContentFilterFinishReasonError):
        await way.helped(BAD_CALL, tools=tools)


async def test_a_limit_that_is_used_up_is_a_rate_limit_error(connect: Connect) -> None:
    way = connect(SINGLE)
    await way.whole(NORMAL.prompt)
    for ask in (way.whole, way.streamed, way.helped):
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(NORMAL.prompt)
        assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
        headers = caught.value.response.headers
        assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("1", "0")
        assert 0 < int(headers["retry-after-ms"]) <= 60_200
        assert headers["retry-after"]


async def test_a_client_that_retries_waits_for_its_turn(connect: Connect, world: World) -> None:
    first = asyncio.create_task(connect(ONE_AT_A_TIME).whole(SLOW))
    await until(world.busy)
    with pytest.raises(openai.RateLimitError):
        await connect(ONE_AT_A_TIME).whole(NORMAL.prompt)
    assert (await connect(ONE_AT_A_TIME, retries=2).whole(NORMAL.prompt)).text == NORMAL.whole
    assert (await first).text == "At last."


async def test_an_upstream_that_is_down_is_a_server_error(connect: Connect) -> None:
    way = connect()
    for ask in (way.whole, way.streamed, way.helped):
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(NORMAL.prompt, ABSENT)
        assert (caught.value.status_code, caught.value.code) == (503, "upstream_unavailable")
        assert caught.value.response.headers["retry-after"]


async def test_a_client_that_retries_gets_over_an_upstream_that_was_busy(connect: Connect, world: World) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await connect().whole(BUSY)
    assert caught.value.status_code == 500
    world.model.busy = 1
    assert (await connect(retries=1).whole(BUSY)).text == NORMAL.whole


async def test_a_stream_that_breaks_off_is_an_api_error(connect: Connect) -> None:
    for ask in (connect().streamed, connect(retries=2).streamed, connect().helped):
        with pytest.raises(openai.APIError) as caught:
            await ask(CUT)
        assert type(caught.value) is openai.APIError
        assert caught.value.code == "upstream_broken"


async def test_a_key_that_nobody_knows_is_an_authentication_error(connect: Connect) -> None:
    way = connect(FORBIDDEN, retries=2)
    for ask in (way.whole, way.streamed, way.helped):
        with pytest.raises(openai.AuthenticationError) as caught:
            await ask(NORMAL.prompt)
        assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        await way.call(lambda client: client.models.list())


async def test_a_model_that_nobody_serves_is_not_found(connect: Connect) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await connect().whole(NORMAL.prompt, "nobody")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_completions_read_like_chats(case: Case, connect: Connect) -> None:
    end = "content_filter" if case.blocked else "stop"
    whole = await connect().call(lambda c: c.completions.create(model=REFUSE, prompt=case.prompt))
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == (case.whole, end)
    assert action_of(whole) == case.action


async def test_errors_of_completions_are_the_documented_ones(connect: Connect) -> None:
    for kind, model, key, prompt in (
        (openai.BadRequestError, ERROR, None, BLOCKED_PROMPT),
        (openai.BadRequestError, ERROR, None, BLOCKED_OUT.prompt),
        (openai.InternalServerError, ABSENT, None, NORMAL.prompt),
        (openai.AuthenticationError, REFUSE, FORBIDDEN, NORMAL.prompt),
    ):
        way = connect(key) if key else connect()
        with pytest.raises(kind):
            await way.call(lambda c, m=model, p=prompt: c.completions.create(model=m, prompt=p))


async def test_embeddings_are_vectors_in_the_form_that_the_sdk_asks_for(connect: Connect, world: World) -> None:
    way = connect()
    got = await way.call(lambda c: c.embeddings.create(model=REFUSE, input=["Hello", "to ada@example.com"]))
    assert [tuple(row.embedding) for row in got.data] == [VECTOR, VECTOR]
    assert world.vllm.requests[-1].body["encoding_format"] == "base64"
    assert world.vllm.requests[-1].body["input"] == ["Hello", "to [EMAIL]"]
    for model in (REFUSE, ERROR):
        with pytest.raises(openai.BadRequestError) as caught:
            await way.call(lambda c, m=model: c.embeddings.create(model=m, input=BLOCKED_PROMPT))
        assert caught.value.code == "content_filter"
    with pytest.raises(openai.InternalServerError):
        await way.call(lambda c: c.embeddings.create(model=ABSENT, input="Hello"))


async def test_moderations_are_scored(connect: Connect) -> None:
    got = await connect().call(lambda c: c.moderations.create(input=["How are you?", "How do I sort a list?"]))
    assert [result.flagged for result in got.results] == [False, False]
    assert got.results[0].category_scores.violence < 0.5
    with pytest.raises(openai.AuthenticationError):
        await connect(FORBIDDEN).call(lambda c: c.moderations.create(input="Hello"))


async def test_models_are_those_of_the_key(connect: Connect) -> None:
    def listed(client: Any) -> Any:
        return client.models.list()

    page = await connect().call(listed)
    assert [m.id for m in page.data] == [REFUSE, ERROR, ABSENT]


async def test_the_rate_limit_headers_come_with_every_answer(connect: Connect) -> None:
    raw = await connect(SINGLE).call(
        lambda c: c.chat.completions.with_raw_response.create(
            model=REFUSE, messages=[{"role": "user", "content": REDACTED.prompt}]
        )
    )
    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
    assert raw.headers["x-wardgate-action"] == "redact"
    assert raw.parse().choices[0].message.content == REDACTED.whole
