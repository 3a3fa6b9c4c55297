"""Anthropic's own SDK as the client: it reads every answer of the gateway, and raises nothing but what it documents."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message, MessageParam

from tests.fakes import FOREVER, Piece, Script, fake_vllm, stream
from tests.fakes_messages import block_start, delta, event, message_start, saying, text, thinking, tool_use
from tests.gateway.harness import CODENAME, EMAIL, document, free_port, gateway, with_tenants
from tests.gateway.messages import REFUSAL, serving

HELLO: list[MessageParam] = [{"role": "user", "content": "Hello"}]
BAD: list[MessageParam] = [{"role": "user", "content": "Tell me of Project Titan."}]
SAID = (thinking("Hm."), text("Write to ada@example.com now."), tool_use("mail", {"to": "ada@example.com", "n": 2}))
LEAK = (text("Well. It is Project Titan."),)


@contextlib.asynccontextmanager
async def asking(
    script: Script, tmp_path: Path, redis_url: str, *guards: Mapping[str, object], **policy: object
) -> AsyncIterator[AsyncAnthropic]:
    async with (
        serving(script, tmp_path, redis_url, *guards, **policy) as both,
        AsyncAnthropic(base_url=both.url, api_key="k", max_retries=0) as client,
    ):
        yield client


async def whole(client: AsyncAnthropic, messages: list[MessageParam]) -> Message:
    return await client.messages.create(model="assistant", max_tokens=50, messages=messages)


async def streamed(client: AsyncAnthropic, messages: list[MessageParam]) -> Message:
    async with client.messages.stream(model="assistant", max_tokens=50, messages=messages) as stream:
        return await stream.get_final_message()


async def test_a_clean_answer_reads_the_same_whole_and_streamed(tmp_path: Path, redis_url: str) -> None:
    said = saying(*SAID, stop="tool_use")
    async with asking(said, tmp_path, redis_url, CODENAME) as client:
        one, two = await whole(client, HELLO), await streamed(client, HELLO)
    assert one.to_dict()["content"] == two.to_dict()["content"] == list(SAID)
    assert one.stop_reason == two.stop_reason == "tool_use"
    assert one.usage.output_tokens == two.usage.output_tokens == 3
    extra = one.model_extra
    assert extra is not None
    assert extra["wardgate"]["action"] == "allow"


async def test_a_redacted_answer_reads_the_same_whole_and_streamed(tmp_path: Path, redis_url: str) -> None:
    async with asking(saying(*SAID, stop="tool_use"), tmp_path, redis_url, EMAIL) as client:
        one, two = await whole(client, HELLO), await streamed(client, HELLO)
    assert one.to_dict()["content"] == two.to_dict()["content"]
    said, called = one.content[1], one.content[2]
    assert said.type == "text"
    assert said.text == "Write to [EMAIL] now."
    assert called.type == "tool_use"
    assert called.input == {"to": "[EMAIL]", "n": 2}


async def test_the_stream_helper_tells_every_piece(tmp_path: Path, redis_url: str) -> None:
    async with (
        asking(saying(*SAID), tmp_path, redis_url, EMAIL) as client,
        client.messages.stream(model="assistant", max_tokens=50, messages=HELLO) as stream,
    ):
        kinds = [e.type async for e in stream]
    assert {"text", "thinking", "signature", "input_json", "content_block_stop", "message_stop"} <= set(kinds)


@pytest.mark.parametrize("messages", [BAD, HELLO], ids=["prompt", "answer"])
async def test_what_is_blocked_is_a_refusal(messages: list[MessageParam], tmp_path: Path, redis_url: str) -> None:
    async with asking(saying(*LEAK), tmp_path, redis_url, CODENAME) as client:
        one, two = await whole(client, messages), await streamed(client, messages)
    assert one.stop_reason == two.stop_reason == "refusal"
    assert [b.type for b in one.content] == ["text"]
    last = two.content[-1]
    assert last.type == "text"
    assert last.text == REFUSAL
    assert "Titan" not in one.to_json() + two.to_json()


@pytest.mark.parametrize("messages", [BAD, HELLO], ids=["prompt", "answer"])
async def test_what_is_blocked_is_a_bad_request_under_error(
    messages: list[MessageParam], tmp_path: Path, redis_url: str
) -> None:
    async with asking(saying(text("Project Titan.")), tmp_path, redis_url, CODENAME, on_block="error") as client:
        with pytest.raises(anthropic.BadRequestError) as caught:
            await whole(client, messages)
        with pytest.raises(anthropic.BadRequestError):
            await streamed(client, BAD)
    assert (caught.value.type, caught.value.error_code) == ("invalid_request_error", "content_filter")


async def test_a_block_in_mid_stream_is_a_refusal_even_under_error(tmp_path: Path, redis_url: str) -> None:
    async with asking(saying(*LEAK, gap=0.01), tmp_path, redis_url, CODENAME, on_block="error") as client:
        got = await streamed(client, HELLO)
    assert [b.to_dict() for b in got.content] == [text("Well. It is "), text(REFUSAL)]
    assert got.stop_reason == "refusal"


async def test_an_upstream_that_is_down_is_a_server_error(tmp_path: Path, redis_url: str) -> None:
    async with (
        gateway(document(f"http://127.0.0.1:{free_port()}"), tmp_path, redis_url) as url,
        AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client,
    ):
        for ask in (whole, streamed):
            with pytest.raises(anthropic.InternalServerError) as caught:
                await ask(client, HELLO)
            assert (caught.value.status_code, caught.value.type) == (503, "api_error")
            assert caught.value.error_code == "upstream_unavailable"


@pytest.mark.parametrize("end", [event({"type": "error", "error": {"type": "api_error", "message": "x"}}), b""])
async def test_an_upstream_that_breaks_off_is_an_error_of_the_stream(
    end: bytes, tmp_path: Path, redis_url: str
) -> None:
    frames: list[Piece] = [message_start(), block_start(0, text("")), delta(0, "text_delta", text="Well. "), 0.05, end]
    async with asking(stream(frames), tmp_path, redis_url, EMAIL) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await streamed(client, HELLO)
    assert caught.value.type == "api_error"


async def test_a_key_nobody_knows_is_an_authentication_error(tmp_path: Path, redis_url: str) -> None:
    tenant = {"name": "acme", "keys": [f"sha256:{hashlib.sha256(b'wg-key').hexdigest()}"], "models": ["assistant"]}
    async with (
        fake_vllm(saying(text("Well."))) as vllm,
        gateway(with_tenants(document(vllm.url), tenant), tmp_path, redis_url) as url,
    ):
        for client in (AsyncAnthropic(base_url=url, api_key="x"), AsyncAnthropic(base_url=url, auth_token="x")):
            async with client:
                with pytest.raises(anthropic.AuthenticationError) as caught:
                    await whole(client, HELLO)
                assert caught.value.type == "authentication_error"
        async with AsyncAnthropic(base_url=url, api_key="wg-key", max_retries=0) as client:
            assert (await whole(client, HELLO)).stop_reason == "end_turn"
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.create(model="nobody", max_tokens=5, messages=HELLO)


async def test_tokens_are_counted(tmp_path: Path, redis_url: str) -> None:
    async with asking(saying(), tmp_path, redis_url, CODENAME) as client:
        assert (await client.messages.count_tokens(model="assistant", messages=HELLO)).input_tokens == 11
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.count_tokens(model="assistant", messages=BAD)


async def test_a_client_that_leaves_stops_the_upstream(tmp_path: Path, redis_url: str) -> None:
    frames: list[Piece] = [message_start(), block_start(0, text("")), delta(0, "text_delta", text="Well. "), FOREVER]
    async with (
        serving(stream(frames), tmp_path, redis_url, EMAIL) as both,
        AsyncAnthropic(base_url=both.url, api_key="k", max_retries=0) as client,
    ):
        async with client.messages.stream(model="assistant", max_tokens=50, messages=HELLO) as answer:
            async for _ in answer.text_stream:
                break
        async with asyncio.timeout(5):
            await both.vllm.left.wait()


def sync(url: str) -> tuple[Message, Message, list[str]]:
    """What the synchronous client makes of it: whole, by the helper, by raw events."""
    with Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        one = client.messages.create(model="assistant", max_tokens=50, messages=HELLO)
        with client.messages.stream(model="assistant", max_tokens=50, messages=HELLO) as stream:
            two = stream.get_final_message()
        with client.messages.create(model="assistant", max_tokens=50, messages=HELLO, stream=True) as events:
            return one, two, [e.type for e in events]


async def test_the_synchronous_client_reads_the_same(tmp_path: Path, redis_url: str) -> None:
    async with serving(saying(*SAID), tmp_path, redis_url, EMAIL, CODENAME) as both:
        one, two, kinds = await asyncio.to_thread(sync, both.url)
    assert one.to_dict()["content"] == two.to_dict()["content"]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    async with serving(saying(*LEAK), tmp_path, redis_url, EMAIL, CODENAME) as both:
        one, two, _ = await asyncio.to_thread(sync, both.url)
    assert one.stop_reason == two.stop_reason == "refusal"
