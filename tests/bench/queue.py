"""The queue with many cases: `python -m tests.bench.queue [CASES]`. Starts a Redis of its own, as `wardgate` embeds it.

The list page is asked over HTTP, signed in: its time is the server's and a loopback's. Goals: 150 ms, and 5 ms for a
claim (p95).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx
from redis.asyncio import Redis

from gateway.live.embedded import EmbeddedRedis
from gateway.review.ledger import Ledger
from gateway.review.queue import ReviewQueue
from tests.gateway.harness import document, gateway
from tests.gateway.review.test_queue import CASE

PAGES, CLAIMS = 60, 400
LIST_MS, CLAIM_MS = 150.0, 5.0


async def fill(queue: ReviewQueue, count: int) -> None:
    now = time.time()
    for start in range(0, count, 50):
        cases = [
            replace(
                CASE,
                id=f"case_{i:024x}",
                tenant="open",
                at=now,
                opened=now + i / 100,
                deadline=now + 3600 + i % 1800,
                severity=i % 4,
                categories=(("toxicity", "harm", "jailbreak")[i % 3],),
            )
            for i in range(start, min(count, start + 50))
        ]
        await asyncio.gather(*(queue.open(case, b"{}") for case in cases))


async def timed(times: int, act: Callable[[int], Awaitable[object]]) -> list[float]:
    """Milliseconds, sorted."""
    found = []
    for i in range(times):
        began = time.perf_counter()
        await act(i)
        found.append((time.perf_counter() - began) * 1e3)
    return sorted(found)


@contextlib.asynccontextmanager
async def reviewer(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in at an open gateway."""
    async with httpx.AsyncClient(base_url=url, follow_redirects=True, timeout=30) as client:
        page = (await client.get("/console/sign-in")).text
        token = page.split('name="csrf" value="', 1)[-1].split('"', 1)[0] if 'name="csrf"' in page else ""
        await client.post("/console/sign-in", data={"key": "bench", "name": "bench", "csrf": token})
        yield client


def tell(what: str, times: list[float], goal: float) -> None:
    p50, p95 = times[len(times) // 2], times[int(len(times) * 0.95)]
    print(f"{what}: p50 {p50:.2f} ms, p95 {p95:.2f} ms, goal {goal:g}: {'met' if p95 < goal else 'MISSED'}")


async def measure(count: int, url: str, folder: Path) -> None:
    redis = Redis.from_url(url)
    queue = ReviewQueue(redis, Ledger(redis))
    await fill(queue, count)
    print(f"{json.dumps(vars_of(await queue.counts('open')))}")
    async with gateway(document("http://127.0.0.1:9"), folder, url) as served, reviewer(served) as client:
        first = await client.get("/console/queue")
        assert first.status_code == 200, first.text[:200]
        assert "Review queue" in first.text, "not signed in"
        tell("list page", await timed(PAGES, lambda i: client.get("/console/queue")), LIST_MS)
    tell("claim", await timed(CLAIMS, lambda i: queue.claim("open", f"r{i}")), CLAIM_MS)
    await redis.aclose()


def vars_of(counts: object) -> dict[str, object]:
    return {name: getattr(counts, name) for name in ("ready", "senior", "leased", "deciding", "closed")}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder) / "data")
        server.start()
        try:
            asyncio.run(measure(count, server.url, Path(folder)))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
