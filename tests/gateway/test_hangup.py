"""An answer that nobody will read is not generated: the upstream call ends with the client, or with a block."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from tests.fakes import FOREVER, FakeVLLM, Piece, Reply, chat_frame, fake_vllm, stream
from tests.gateway.harness import CHAT, CODENAME, RUDE, ask_stream, document, gateway, request, until

SOON = 0.1


async def asked(vllm: FakeVLLM) -> None:
    async def holds() -> bool:
        return vllm.running > 0

    await until(holds)


async def left(vllm: FakeVLLM) -> float:
    async with asyncio.timeout(5):
        await vllm.left.wait()
    return vllm.closed[0]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_before_the_answer_begins_ends_the_upstream_call(
    streamed: bool, tmp_path: Path, redis_url: str
) -> None:
    async with (
        fake_vllm(Reply([b""], before=FOREVER)) as vllm,
        gateway(document(vllm.url, CODENAME), tmp_path, redis_url) as url,
        httpx.AsyncClient() as client,
    ):
        asking = asyncio.create_task(client.post(url + CHAT, json=request(stream=streamed)))
        await asked(vllm)
        gone = time.monotonic()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await left(vllm) - gone < SOON


async def test_a_client_that_leaves_in_the_middle_of_a_stream_ends_the_upstream_call(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    frames: list[Piece] = [
        chat_frame({"role": "assistant", "content": "You windbag "}),
        chat_frame({"content": "!"}),
        FOREVER,
    ]
    async with (
        fake_vllm(stream(frames)) as vllm,
        gateway(document(vllm.url, RUDE), tmp_path, redis_url) as url,
        httpx.AsyncClient() as client,
    ):
        async with client.stream("POST", url + CHAT, json=request(stream=True)) as answer:
            await anext(answer.aiter_lines())
            gone = time.monotonic()
        assert await left(vllm) - gone < SOON
        kept = await ended(FlagLog(redis), answer.headers["x-request-id"])
    assert kept["outcome"] == "client_closed"
    assert kept["action"] == "flag"


async def ended(flags: FlagLog, id: str) -> dict[str, object]:
    async def holds() -> bool:
        return "outcome" in (await flags.show(id) or {})

    await until(holds)
    return await flags.show(id) or {}


async def test_a_block_ends_the_upstream_call(tmp_path: Path, redis_url: str) -> None:
    said: list[float] = []

    async def pieces() -> AsyncIterator[Piece]:
        yield chat_frame({"role": "assistant", "content": "It is "})
        yield 0.05
        said.append(time.monotonic())
        yield chat_frame({"content": "Project Titan, "})
        yield FOREVER

    reply = Reply(pieces(), headers={"content-type": "text/event-stream"})
    async with (
        fake_vllm(reply) as vllm,
        gateway(document(vllm.url, CODENAME, refusal="No."), tmp_path, redis_url) as url,
    ):
        got = await ask_stream(url)
        assert await left(vllm) - said[0] < SOON
    assert got.text() == "It is No."
    assert got.payloads[-1] == "[DONE]"
