"""What a request asks Redis before it reaches the model: all of it at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from gateway.live.limits import ADMIT
from gateway.live.verdicts import READ
from gateway.prompting import FORESEEN
from tests.fakes import FakeVLLM, Reply, chat_json, fake_vllm
from tests.gateway.harness import CHAT, document, free_port, gateway, until, with_tenants
from tests.gateway.test_limits import hashed
from tests.gateway.test_verdict_cache import judge, safe, written

KEY = "wg-app-secret"
LIMITS = {"requests_per_minute": 1000, "tokens_per_minute": 10**6, "concurrent": 10}
TURNS = [{"role": "user", "content": f"Question {i}"} for i in range(10)]


@dataclass
class Wiretap:
    """Stands before Redis, and keeps what came in one piece."""

    redis: str
    port: int = field(default_factory=free_port)
    pieces: list[bytes] = field(default_factory=list)
    flowing: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[tuple[bool, bool]]:
        """Of each piece with a question: whether it asks for admission, and what the cache knows."""
        found = [(ADMIT.sha.encode() in p, READ.sha.encode() in p) for p in self.pieces if b"EVALSHA" in p]
        return [pair for pair in found if any(pair)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self.redis.removeprefix("unix://").partition("?")[0])
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pass(reader, back, keep=True), self._pass(there, writer, keep=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool) -> None:
        try:
            while data := await reader.read(1 << 20):
                if keep:
                    self.pieces.append(data)
                    await self.flowing.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def tapped(redis_url: str) -> AsyncIterator[Wiretap]:
    tap = Wiretap(redis_url)
    tap.flowing.set()
    server = await asyncio.start_server(tap.serve, "127.0.0.1", tap.port, limit=1 << 20)
    try:
        yield tap
    finally:
        tap.flowing.set()
        server.close()
        await server.wait_closed()


@dataclass
class Served:
    client: httpx.AsyncClient
    guard: FakeVLLM
    vllm: FakeVLLM

    async def ask(self, count: int = len(TURNS), *, path: str = CHAT) -> httpx.Response:
        messages = [TURNS[i % len(TURNS)] for i in range(count)]
        body = {"model": "assistant", "messages": messages} | ({"stage": "input"} if path != CHAT else {})
        return await self.client.post(path, json=body)


@contextlib.asynccontextmanager
async def serving(tap: Wiretap, folder: Path, **limits: int) -> AsyncIterator[Served]:
    tenant = {"name": "acme", "keys": [hashed(KEY)], "models": ["assistant"], "limits": limits or LIMITS}
    async with fake_vllm(safe) as guard, fake_vllm(Reply([chat_json("Fine.")])) as vllm:
        config = with_tenants(document(vllm.url, judge(guard.url)), tenant)
        async with (
            gateway(config, folder, tap.url) as url,
            httpx.AsyncClient(base_url=url, headers={"x-api-key": KEY}, timeout=10) as client,
        ):
            yield Served(client, guard, vllm)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("path", [CHAT, "/v1/guard"])
async def test_limits_and_verdicts_are_asked_for_in_one_round_trip(
    path: str, *, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with tapped(redis_url) as tap, serving(tap, tmp_path) as served:
        await served.ask(path=path)
        await written(redis, len(TURNS))
        judged = len(served.guard.requests)
        tap.pieces.clear()
        for _ in range(10):
            assert (await served.ask(path=path)).json().get("wardgate", {"action": "allow"})["action"] == "allow"
        assert tap.asked == [(True, True)] * 10
        assert len(served.guard.requests) == judged


@pytest.mark.usefixtures("patient")
async def test_of_many_requests_at_once_the_questions_share_round_trips(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with tapped(redis_url) as tap, serving(tap, tmp_path, requests_per_minute=1000) as served:
        await served.ask()
        tap.pieces.clear()
        answers = await asyncio.gather(*(served.ask() for _ in range(60)))
        assert {a.status_code for a in answers} == {200}
        assert len(tap.asked) < 40
        assert all(limits for limits, _ in tap.asked)


@pytest.mark.usefixtures("patient")
async def test_a_prompt_of_very_many_texts_is_looked_up_only_once_it_is_admitted(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with tapped(redis_url) as tap, serving(tap, tmp_path, requests_per_minute=3) as served:
        await served.ask()
        await written(redis, len(TURNS))
        tap.pieces.clear()
        for _ in range(2):
            assert (await served.ask(FORESEEN + 1)).status_code == 200
        assert (await served.ask(FORESEEN + 1)).status_code == 429
        assert tap.asked == [(True, False), (False, True)] * 2 + [(True, False)]


@pytest.mark.usefixtures("patient")
async def test_a_refused_request_leaves_nothing_behind(
    tmp_path: Path, redis_url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with tapped(redis_url) as tap, serving(tap, tmp_path, requests_per_minute=1) as served:
        statuses = [(await served.ask()).status_code for _ in range(3)]
        bad = await served.client.post(CHAT, json={"model": "assistant", "messages": [7]})
    assert statuses == [200, 429, 429]
    assert bad.status_code == 429  # it is counted before anybody says what is wrong with it
    assert len(served.vllm.requests) == 1
    assert "never" not in caplog.text  # neither awaited nor retrieved: asyncio would say so


async def test_a_redis_that_stalls_holds_a_request_up_once(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with tapped(redis_url) as tap, serving(tap, tmp_path) as served:
        await served.ask()
        tap.flowing.clear()
        took = []
        loop = asyncio.get_running_loop()
        for _ in range(6):
            began = loop.time()
            assert (await served.ask()).status_code == 200
            took.append(loop.time() - began)
        assert len([t for t in took if t > 0.3]) <= 2  # the first one, and one that tries again
        tap.flowing.set()

        async def back() -> bool:
            return "x-ratelimit-remaining-requests" in (await served.ask()).headers

        await until(back)


def test_the_pieces_are_told_apart() -> None:
    tap = Wiretap("unix:///nowhere")
    tap.pieces += [b"EVALSHA " + ADMIT.sha.encode(), b"EVALSHA other", json.dumps({}).encode()]
    assert tap.asked == [(True, False)]
