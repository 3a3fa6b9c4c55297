"""What the official SDK makes of `/v1/responses`: it raises nothing but its documented errors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCall
from pydantic import BaseModel

from tests.fakes import Reply, Request, Script, stream
from tests.fakes_responses import call, cut, echoing, events, frames, message, reasoning, saying, whole
from tests.gateway.responding import MAIL, REFUSAL, served

TOOL: FunctionToolParam = {
    "type": "function",
    "name": "mail",
    "strict": True,
    "parameters": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
}


class Place(BaseModel):
    city: str


@contextlib.asynccontextmanager
async def sdk(script: Script, tmp_path: Path, redis_url: str, **policy: object) -> AsyncIterator[AsyncOpenAI]:
    async with (
        served(script, tmp_path, redis_url, **policy) as both,
        AsyncOpenAI(base_url=f"{both.url}/v1", api_key="k", max_retries=0, timeout=10) as client,
    ):
        yield client


def both_ways(text: str) -> Script:
    return lambda request: saying(text) if request.body.get("stream") else whole(message(text))


@pytest.mark.parametrize(
    ("text", "seen", "status"),
    [
        ("All is well.", "All is well.", "completed"),
        (f"Write to {MAIL} now.", "Write to [EMAIL] now.", "completed"),
        ("It is Project Titan.", f"It is {REFUSAL}", "incomplete"),
    ],
)
async def test_the_sdk_reads_every_answer(text: str, seen: str, status: str, tmp_path: Path, redis_url: str) -> None:
    async with sdk(both_ways(text), tmp_path, redis_url) as client:
        answer = await client.responses.create(model="assistant", input="Hi")
        assert answer.status == status
        assert answer.output_text in (seen, REFUSAL)
        said = ""
        async for event in await client.responses.create(model="assistant", input="Hi", stream=True):
            if event.type == "response.output_text.delta":
                said += event.delta
        assert said == seen
        assert event.type == f"response.{status}"


@pytest.mark.parametrize("text", ["All is well.", f"Write to {MAIL} now."])
async def test_the_stream_helper_gathers_the_answer(text: str, tmp_path: Path, redis_url: str) -> None:
    items = events((reasoning("Hm, so it is."), cut("Hm, so it is.")), (message(text), cut(text)))
    async with (
        sdk(stream(frames(items)), tmp_path, redis_url) as client,
        client.responses.stream(model="assistant", input="Hi") as helper,
    ):
        snapshot = ""
        async for event in helper:
            if event.type == "response.output_text.delta":
                snapshot = event.snapshot
        final = await helper.get_final_response()
        assert snapshot == final.output_text == text.replace(MAIL, "[EMAIL]")
        extra = final.model_extra
        assert extra is not None
        assert extra["wardgate"]["action"] in ("allow", "redact")


async def test_the_stream_helper_reads_a_block_to_its_end(tmp_path: Path, redis_url: str) -> None:
    async with (
        sdk(saying("It is Project Titan."), tmp_path, redis_url) as client,
        client.responses.stream(model="assistant", input="Hi") as helper,
    ):
        seen = [event async for event in helper]
    last = seen[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == f"It is {REFUSAL}"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "content_filter"


async def test_parsed_answers_and_their_refusals(tmp_path: Path, redis_url: str) -> None:
    async with sdk(both_ways('{"city": "Oslo"}'), tmp_path, redis_url) as client:
        answer = await client.responses.parse(model="assistant", input="Hi", text_format=Place)
        assert answer.output_parsed == Place(city="Oslo")
        async with client.responses.stream(model="assistant", input="Hi", text_format=Place) as helper:
            assert (await helper.get_final_response()).output_parsed == Place(city="Oslo")
    async with sdk(both_ways('{"city": "Project Titan"}'), tmp_path, redis_url) as client:
        answer = await client.responses.parse(model="assistant", input="Hi", text_format=Place)
        assert answer.output_parsed is None
        (item,) = answer.output
        assert item.type == "message"
        assert item.content[0].type == "refusal"
        assert item.content[0].refusal == REFUSAL


async def test_a_prompt_is_blocked_for_the_sdk_too(tmp_path: Path, redis_url: str) -> None:
    async with sdk(echoing, tmp_path, redis_url) as client:
        answer = await client.responses.create(model="assistant", input="Project Titan")
        assert (answer.output_text, answer.status) == (REFUSAL, "incomplete")
        async with client.responses.stream(model="assistant", input="Project Titan") as helper:
            assert [event.type async for event in helper][-1] == "response.incomplete"


async def test_tools_are_called_and_answered(tmp_path: Path, redis_url: str) -> None:
    arguments = json.dumps({"to": MAIL})

    def script(request: Request) -> Reply:
        if not request.body.get("stream"):
            return whole(call(arguments))
        return stream(frames(events((call(arguments), cut(arguments)))))

    async with sdk(script, tmp_path, redis_url) as client:
        answer = await client.responses.create(model="assistant", input="Hi", tools=[TOOL])
        (item,) = answer.output
        assert isinstance(item, ResponseFunctionToolCall)
        assert json.loads(item.arguments) == {"to": "[EMAIL]"}
        async with client.responses.stream(model="assistant", input="Hi", tools=[TOOL]) as helper:
            async for event in helper:
                if event.type == "response.function_call_arguments.delta":
                    assert event.snapshot == '{"to": "[EMAIL]"}'
            final = await helper.get_final_response()
        assert final.output[0].type == "function_call"
        assert final.output[0].parsed_arguments == {"to": "[EMAIL]"}


async def test_errors_are_the_documented_ones(tmp_path: Path, redis_url: str) -> None:
    async with sdk(both_ways("It is Project Titan."), tmp_path, redis_url, on_block="error") as client:
        with pytest.raises(openai.BadRequestError) as blocked:
            await client.responses.create(model="assistant", input="Hi")
        assert blocked.value.code == "content_filter"
        with pytest.raises(openai.NotFoundError) as missing:
            await client.responses.create(model="assistant", input="Hi", previous_response_id="resp_x")
        assert missing.value.code == "previous_response_not_found"
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve("resp_x")


async def test_a_stream_that_breaks_raises_in_the_sdk(tmp_path: Path, redis_url: str) -> None:
    broken = stream(frames(events((message("Well, so."), ["Well, so."]))[:5]), gap=0.005)
    async with sdk(broken, tmp_path, redis_url) as client:
        with pytest.raises(openai.APIError) as raised:
            [event async for event in await client.responses.create(model="assistant", input="Hi", stream=True)]
        assert raised.value.code == "upstream_broken"
