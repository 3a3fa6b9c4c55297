"""Decisions of the real queue, to be told of."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from redis.asyncio import Redis

from gateway.plan import Plan
from gateway.review.case import Case, Matter
from gateway.review.decision import Choice, Decision
from gateway.review.ledger import Ledger
from gateway.review.outputs import Outputs
from gateway.review.queue import ReviewQueue
from gateway.review.webhooks import Dispatcher, Result
from gateway.upstream.simulated import Simulated
from gateway.vault import PlainVault
from guards.policy import Document
from tests.fakes import FakeVLLM, Reply, Request

SECRET = "between-us"
BASE: dict[str, Any] = {
    "version": 1,
    "upstreams": [{"name": "vllm", "base_urls": ["http://127.0.0.1:9/v1"]}],
    "models": [{"name": "assistant", "upstream": "vllm"}],
}
FINE, BROKEN = Reply([b"ok"]), Reply([b"no"], status=500)
ANSWER = {"choices": [{"message": {"content": "the original"}}]}
PATH = "choices[0].message.content"
CASE = Case(
    id="case_1",
    exchange="req-1",
    at=0.0,
    opened=0.0,
    tenant="acme",
    model="assistant",
    policy="support@abc",
    route="/v1/chat/completions",
    stage="output",
    source="guard",
    deliver="withhold",
    severity=1,
    categories=("violence",),
    deadline=None,
    on_deadline="block",
    undo=0.0,
)


@dataclass
class Plans:
    plan: Plan


@dataclass
class Tally:
    results: list[Result] = field(default_factory=list)

    def webhook(self, result: Result) -> None:
        self.results.append(result)

    def reached(self, count: int) -> bool:
        return len(self.results) == count


def plans(*hooks: dict[str, Any]) -> Plans:
    document = Document.model_validate({**BASE, "webhooks": [{"secret": SECRET, **hook} for hook in hooks]})
    return Plans(Plan.build(document, {"vllm": Simulated()}))


@dataclass
class Telling:
    """The queue, and what tells of it."""

    redis: Redis
    queue: ReviewQueue
    plans: Plans
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def at(cls, redis: Redis, *hooks: dict[str, Any]) -> Telling:
        return cls(redis, ReviewQueue(redis, Ledger(redis)), plans(*hooks))

    def dispatcher(self, *, delays: Sequence[float] = (0.02,) * 5, **options: Any) -> Dispatcher:
        outputs = Outputs(self.queue, PlainVault())
        told = (self.redis, self.plans, self.queue, outputs, self.tally)
        return Dispatcher(*told, tick=0.02, delays=delays, **options)

    async def decide(self, id: str = "case_1", choice: Choice = "block", tenant: str = "acme", **said: Any) -> None:
        case = replace(CASE, id=id, tenant=tenant, opened=time.time())
        await self.queue.open(case, Matter({}, {PATH: "the original"}, [], ANSWER, {"refused": True}).dump())
        claim = await self.queue.claim(tenant, "ann", wanted=id)
        assert claim is not None
        decision = Decision(id, choice, "ann", time.time(), "other", token=claim.token, **said)
        await self.queue.submit(decision, key=id)
        await self.queue.settle()


@asynccontextmanager
async def running(*dispatchers: Dispatcher) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.run()) for each in dispatchers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(true: Callable[[], bool], seconds: float = 8.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


async def until_dead(dispatcher: Dispatcher, count: int = 1) -> list[dict[str, Any]]:
    async with asyncio.timeout(8):
        while True:
            dead = await dispatcher.dead()
            if len(dead) >= count:
                return dead
            await asyncio.sleep(0.01)


def signed(request: Request) -> bool:
    """As a receiver would check it."""
    stamp = request.headers["x-wardgate-timestamp"]
    said = hmac.new(SECRET.encode(), stamp.encode() + b"." + request.raw, hashlib.sha256).hexdigest()
    return request.headers["x-wardgate-signature"] == f"v1={said}" and abs(time.time() - int(stamp)) < 5


def cases(app: FakeVLLM) -> list[str]:
    return [request.body["case"] for request in app.requests]
