"""Anthropic's clients in the situations that test_messages_sdk.py does not show: tools, limits, retries, parsing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import anthropic
import pytest
from anthropic.types import Message
from pydantic import BaseModel

from tests.gateway.clients.model import BAD_CALL, BAD_JSON, BUSY, CUT, GOOD_CALL, JSON, SLOW
from tests.gateway.clients.world import (
    ABSENT,
    BLOCKED_IN,
    BLOCKED_OUT,
    BLOCKED_PROMPT,
    CASES,
    ERROR,
    FETCH,
    FORBIDDEN,
    KEY,
    NORMAL,
    ONE_AT_A_TIME,
    REFUSAL,
    REFUSE,
    SINGLE,
    Case,
    Seen,
    World,
)
from tests.gateway.harness import until

TOOLS = [{"name": "fetch", "input_schema": FETCH}]


class Trip(BaseModel):
    city: str
    days: int


class Way(Protocol):
    async def close(self) -> None: ...
    async def create(self, prompt: str, model: str = REFUSE, **more: Any) -> Any: ...
    async def stream(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        """The final message of the stream helper."""

    async def raw(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        """The events of `create(stream=True)`."""

    async def parse(self, prompt: str, model: str = REFUSE, **more: Any) -> Any: ...
    async def count(self, prompt: str, model: str = REFUSE) -> int: ...


class Sync:
    def __init__(self, url: str, key: str, retries: int) -> None:
        self.client: Any = anthropic.Anthropic(base_url=url, api_key=key, max_retries=retries, timeout=10)

    async def close(self) -> None:
        self.client.close()

    async def create(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        return await asyncio.to_thread(self.client.messages.create, **asked(prompt, model), **more)

    async def stream(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        def read() -> Any:
            with self.client.messages.stream(**asked(prompt, model), **more) as stream:
                return stream.get_final_message()

        return await asyncio.to_thread(read)

    async def raw(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        def read() -> Any:
            with self.client.messages.create(**asked(prompt, model), stream=True, **more) as events:
                return list(events)

        return await asyncio.to_thread(read)

    async def parse(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        return await asyncio.to_thread(self.client.messages.parse, **asked(prompt, model), **more)

    async def count(self, prompt: str, model: str = REFUSE) -> int:
        count = self.client.messages.count_tokens
        counted = await asyncio.to_thread(count, model=model, messages=asked(prompt, model)["messages"])
        return int(counted.input_tokens)


class Async:
    def __init__(self, url: str, key: str, retries: int) -> None:
        self.client: Any = anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=retries, timeout=10)

    async def close(self) -> None:
        await self.client.close()

    async def create(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        return await self.client.messages.create(**asked(prompt, model), **more)

    async def stream(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        async with self.client.messages.stream(**asked(prompt, model), **more) as stream:
            return await stream.get_final_message()

    async def raw(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        async with await self.client.messages.create(**asked(prompt, model), stream=True, **more) as events:
            return [event async for event in events]

    async def parse(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        return await self.client.messages.parse(**asked(prompt, model), **more)

    async def count(self, prompt: str, model: str = REFUSE) -> int:
        messages = asked(prompt, model)["messages"]
        return int((await self.client.messages.count_tokens(model=model, messages=messages)).input_tokens)


def asked(prompt: str, model: str) -> dict[str, Any]:
    return {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": prompt}]}


class Connect(Protocol):
    def __call__(self, key: str = KEY, retries: int = 0) -> Way: ...


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
async def connect(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Connect]:
    """Makes clients of one kind, and closes them."""
    made: list[Way] = []

    def new(key: str = KEY, retries: int = 0) -> Way:
        made.append(request.param(world.url, key, retries))
        return made[-1]

    yield new
    for way in made:
        await way.close()


def seen(message: Message) -> Seen:
    text = "".join(block.text for block in message.content if block.type == "text")
    found = (message.model_extra or {}).get("wardgate")
    return Seen(text, message.stop_reason, found["action"] if found else None)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_answer_reads_the_same_whole_streamed_and_by_the_helper(case: Case, connect: Connect) -> None:
    way = connect()
    end = "refusal" if case.blocked else "end_turn"
    whole, helped = await way.create(case.prompt), await way.stream(case.prompt)
    assert seen(whole) == Seen(case.whole, end, case.action)
    assert seen(helped)[:2] == (case.streamed, end)
    (ended,) = [e for e in await way.raw(case.prompt) if e.type == "message_delta"]
    assert (ended.delta.stop_reason, ended.model_extra["wardgate"]["action"]) == (end, case.action)
    for details in (whole.stop_details, helped.stop_details, ended.delta.stop_details):
        assert (details.explanation if details else None) == (REFUSAL if case.blocked else None)


async def test_the_id_of_a_request_stands_where_the_sdk_looks_for_it(connect: Connect) -> None:
    way = connect()
    answer = await way.create(NORMAL.prompt)
    assert answer._request_id
    for case in (BLOCKED_IN, BLOCKED_OUT):
        with pytest.raises(anthropic.BadRequestError) as caught:
            await way.create(case.prompt, ERROR)
        assert caught.value.request_id == caught.value.response.headers["x-request-id"]
        assert (caught.value.type, caught.value.error_code) == ("invalid_request_error", "content_filter")
        assert caught.value.response.json()["wardgate"]["action"] == "block"
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        await connect(FORBIDDEN).create(NORMAL.prompt)
    assert unknown.value.request_id


async def test_a_blocked_tool_call_is_a_refusal(connect: Connect) -> None:
    way = connect()
    for ask in (way.create, way.stream):
        good = await ask(GOOD_CALL, tools=TOOLS)
        assert (good.stop_reason, good.content[0].input) == ("tool_use", {"url": "https://example.org/a"})
        bad = await ask(BAD_CALL, tools=TOOLS)
        assert (seen(bad)[:2], [b.type for b in bad.content]) == ((REFUSAL, "refusal"), ["text"])
    with pytest.raises(anthropic.BadRequestError):
        await way.create(BAD_CALL, ERROR, tools=TOOLS)
    assert (await way.stream(BAD_CALL, ERROR, tools=TOOLS)).stop_reason == "refusal"


async def test_a_parsed_answer_is_an_object_and_a_blocked_one_has_no_text(connect: Connect) -> None:
    way = connect()
    for ask in (way.parse, way.stream):
        assert (await ask(JSON, output_format=Trip)).parsed_output == Trip(city="Oslo", days=2)
        blocked = await ask(BLOCKED_PROMPT, output_format=Trip)
        assert (blocked.stop_reason, blocked.content, blocked.parsed_output) == ("refusal", [], None)
        assert blocked.stop_details.explanation == REFUSAL
        late = await ask(BAD_JSON, output_format=Trip)
        assert (late.stop_reason, late.parsed_output) == ("refusal", None)


async def test_a_limit_that_is_used_up_is_a_rate_limit_error(connect: Connect) -> None:
    way = connect(SINGLE)
    await way.create(NORMAL.prompt)
    for ask in (way.create, way.stream, way.raw):
        with pytest.raises(anthropic.RateLimitError) as caught:
            await ask(NORMAL.prompt)
        assert (caught.value.type, caught.value.error_code) == ("rate_limit_error", "rate_limit_exceeded")
        headers = caught.value.response.headers
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert headers["retry-after"]
        assert headers["request-id"]


async def test_a_client_that_retries_waits_for_its_turn(connect: Connect, world: World) -> None:
    first = asyncio.create_task(connect(ONE_AT_A_TIME).create(SLOW))
    await until(world.busy)
    assert seen(await connect(ONE_AT_A_TIME, retries=2).create(NORMAL.prompt)).text == NORMAL.whole
    assert seen(await first).text == "At last."


async def test_an_upstream_that_is_down_or_busy_is_a_server_error(connect: Connect, world: World) -> None:
    way = connect()
    for ask in (way.create, way.stream, way.raw):
        with pytest.raises(anthropic.InternalServerError) as caught:
            await ask(NORMAL.prompt, ABSENT)
        assert (caught.value.status_code, caught.value.error_code) == (503, "upstream_unavailable")
    with pytest.raises(anthropic.InternalServerError):
        await way.create(BUSY)
    world.model.busy = 1
    assert seen(await connect(retries=1).create(BUSY)).text == NORMAL.whole


async def test_a_stream_that_breaks_off_is_an_error_of_the_api(connect: Connect) -> None:
    way = connect(retries=2)
    for ask in (way.stream, way.raw):
        with pytest.raises(anthropic.APIStatusError) as caught:
            await ask(CUT)
        assert (caught.value.type, caught.value.error_code) == ("api_error", "upstream_broken")


async def test_counts_of_tokens_fail_in_the_same_way(connect: Connect) -> None:
    assert await connect().count(NORMAL.prompt) == 11
    for kind, key, model, prompt in (
        (anthropic.BadRequestError, KEY, REFUSE, BLOCKED_PROMPT),
        (anthropic.BadRequestError, KEY, ERROR, BLOCKED_PROMPT),
        (anthropic.AuthenticationError, FORBIDDEN, REFUSE, NORMAL.prompt),
        (anthropic.InternalServerError, KEY, ABSENT, NORMAL.prompt),
        (anthropic.NotFoundError, KEY, "nobody", NORMAL.prompt),
    ):
        with pytest.raises(kind) as caught:
            await connect(key).count(prompt, model)
        assert caught.value.request_id
