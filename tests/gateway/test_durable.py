"""What was flagged is kept before it is read: whoever dies, and whenever."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.live.embedded import socket_path
from gateway.live.flags import FlagLog
from tests.fakes import Reply, Request, chat_frames, chat_json, fake_vllm, stream
from tests.gateway.harness import CHAT, EMAIL, READY_WITHIN, Process, document, log_of, request, until, wardgate_serve

REQUESTS = 200
CLIENTS = 6
KILLS = 4
WORDS = ("Please", " write", " to", " ada", "@example", ".com", " or", " wait", ".")


def leaky(asked: Request) -> Reply:
    """A model that gives an address away, streamed or not."""
    if asked.body.get("stream"):
        return stream(chat_frames(WORDS), gap=0.01)
    return Reply([chat_json("".join(WORDS))], before=0.05)


@dataclass
class Crowd:
    """Clients that ask until all requests were made, and remember which flagged answers they saw anything of."""

    gateway: Process
    ids: Iterator[int] = field(default_factory=itertools.count)
    begun: int = 0
    seen: set[str] = field(default_factory=set)
    broken: int = 0

    async def reached(self, number: int) -> bool:
        return self.begun >= number

    async def ask(self, client: httpx.AsyncClient) -> None:
        while (number := next(self.ids)) < REQUESTS:
            self.begun = number
            await until(partial(self._one, client, f"request-{number}", streamed=number % 2 == 0), READY_WITHIN)

    async def _one(self, client: httpx.AsyncClient, id: str, *, streamed: bool) -> bool:
        """False where nobody listened; a request that broke off is not made again."""
        body, headers = request(stream=streamed), {"x-request-id": id}
        try:
            async with client.stream("POST", self.gateway.url + CHAT, json=body, headers=headers) as answer:
                got = ""
                async for text in answer.aiter_text():
                    got += text
                    if "[EMAIL]" in got:
                        self.seen.add(id)
        except httpx.ConnectError:
            return False
        except httpx.TransportError:
            self.broken += 1
        return True


async def kill(gateway: Process, redis: Redis, dice: random.Random) -> None:
    """kill -9 of the gateway, of its Redis, or of both in either order with a moment between; then all runs again."""
    victims = dice.choice([("gateway", "redis"), ("redis", "gateway"), ("redis",), ("gateway",)])
    with contextlib.suppress(RedisError, OSError):
        info = await redis.info("server")
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(gateway.pid if victim == "gateway" else int(info["process_id"]), signal.SIGKILL)
            await asyncio.sleep(dice.random() * 0.05)
    if "gateway" in victims:
        await gateway.stop(signal.SIGKILL)
        await gateway.start()


async def kept_flags(gateway: Process, log: FlagLog) -> list[dict[str, Any]]:
    """The flag log, once Redis is back and the spool is empty."""
    async with asyncio.timeout(15), httpx.AsyncClient(base_url=gateway.url) as client:
        while True:
            body = (await client.get("/health/ready")).json()
            if body["status"] == "ok" and not body["spooled"] and not list((gateway.data / "spool").glob("*.json")):
                return await log.list(10 * REQUESTS)
            await asyncio.sleep(0.1)


async def test_no_flag_that_a_client_saw_is_lost_or_doubled_by_kill_9(tmp_path: Path) -> None:
    dice = random.Random(20240229)
    moments = sorted(dice.sample(range(10, REQUESTS - 10), KILLS))
    async with (
        asyncio.timeout(55),
        fake_vllm(leaky) as vllm,
        wardgate_serve(document(vllm.url, EMAIL), tmp_path) as gateway,
        httpx.AsyncClient(timeout=5) as client,
    ):
        redis = Redis(unix_socket_path=str(socket_path(gateway.data / "redis")))
        crowd = Crowd(gateway)
        asking = [asyncio.create_task(crowd.ask(client)) for _ in range(CLIENTS)]
        for moment in moments:
            await until(partial(crowd.reached, moment), READY_WITHIN)
            await asyncio.sleep(dice.random() * 0.1)
            await kill(gateway, redis, dice)
        await asyncio.gather(*asking)
        log = FlagLog(redis)
        rows = await kept_flags(gateway, log)
        flags = [await log.show(row["id"]) for row in rows]
        await redis.aclose()
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids))
    assert crowd.seen <= set(ids), f"lost: {sorted(crowd.seen - set(ids))}\n{log_of(gateway.data)}"
    assert len(crowd.seen) > REQUESTS / 2
    for flag in flags:
        assert flag is not None
        assert len(flag["verdicts"]) == 1
        assert flag["verdicts"][0]["entity"] == "email"
