"""Webhooks: applications are told of the decisions that take effect, at least once each.

All processes do it together. An event becomes one letter for each address; whoever takes a letter has it alone, and if
he is killed it goes to another. Letters to one address do not wait for those to another. Their order is not kept:
`superseded` and `decided_at` tell which came later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import SystemRandom
from typing import Any, Literal, Protocol

import httpx
import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.access import Plans
from gateway.review.decided import Decided, Event
from gateway.review.decision import Decision
from gateway.review.letters import Letter, LetterBox
from gateway.review.post import Undelivered, client, post
from gateway.review.queue import ReviewQueue, View
from guards.review import Webhook

LOG = logging.getLogger(__name__)
DELAYS = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Seconds before the second, third, … try; after the last a letter is given up."""
JITTER = 0.25
"""By up to this share a delay is longer, so that letters that failed together do not come back together."""
TICK = 0.25
"""Seconds."""
IDLE = 10
"""So many times slower it goes where nobody is to be told."""
AT_ONCE = 4
"""Letters that one process sends to one address at the same time."""

Result = Literal["delivered", "failed", "dead", "gone"]
"""`failed`: it is tried again. `gone`: the case was forgotten before it could be told of."""


class Outputs(Protocol):
    async def final(self, view: View) -> dict[str, Any] | None:
        """What the application gets by the view's outcome; None: nothing was held."""


class Meter(Protocol):
    def webhook(self, result: Result) -> None: ...


class Dispatcher:
    """Delivers what the queue says was decided."""

    def __init__(
        self,
        redis: Redis,
        plans: Plans,
        queue: ReviewQueue,
        outputs: Outputs,
        metrics: Meter,
        *,
        box: LetterBox | None = None,
        idle: float = 30.0,
        delays: Sequence[float] = DELAYS,
        tick: float = TICK,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._plans = plans
        self._queue = queue
        self._outputs = outputs
        self._metrics = metrics
        self._delays = delays
        self._tick = tick
        self._clock = clock
        self._decided = Decided(redis, queue.decided, idle)
        self._box = box or LetterBox(redis, clock=clock)
        self._sending: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)
        self._chance = SystemRandom()

    async def run(self) -> None:
        """Until it is cancelled; what is being sent then is sent anew by whoever takes it next."""
        healthy = False
        async with client() as http, asyncio.TaskGroup() as tasks:
            while True:
                try:
                    if not healthy:
                        await self._decided.join()
                    await self._step(http, tasks)
                    healthy = True
                except (RedisError, OSError) as error:
                    if healthy:
                        LOG.warning("Redis is away, webhooks wait: %s", type(error).__name__)
                    healthy = False
                stop_if_cancelled()
                await asyncio.sleep(self._tick * (1 if self._plans.plan.document.webhooks else IDLE))

    async def dead(self) -> list[dict[str, Any]]:
        """What was given up, the newest first: `{id, url, case, tenant, error, at}`, `at` in Unix time."""
        return [
            {"id": e.id, "url": e.url, "case": e.case, "tenant": e.tenant, "error": e.error, "at": at}
            for e, at in await self._box.dead()
        ]

    async def resend(self, id: str) -> bool:
        """Try a dead letter anew; False: there is none of this id."""
        return await self._box.resend(id)

    async def _step(self, http: httpx.AsyncClient, tasks: asyncio.TaskGroup) -> None:
        for event in [*await self._decided.stranded(), *await self._decided.new()]:
            await self._address(event)
        for url in await self._box.urls():
            sending = self._sending[url]
            while len(sending) < AT_ONCE and (letter := await self._box.take(url)) is not None:
                task = tasks.create_task(self._deliver(http, letter))
                sending.add(task)
                task.add_done_callback(sending.discard)

    async def _address(self, event: Event) -> None:
        try:
            view = await self._queue.get(event.case)
        except (KeyError, TypeError, ValueError) as error:  # a newer gateway may read it: it stays pending
            LOG.error("a case cannot be read, its webhook waits: %s", type(error).__name__)
            return
        urls = dict.fromkeys(hook.url for hook in self._hooks(event.tenant)) if view is not None else ()
        await self._box.put(self._decided.stream, event, urls, -1 if view is None else in_force(view))

    async def _deliver(self, http: httpx.AsyncClient, letter: Letter) -> None:
        try:
            self._metrics.webhook(await self._tried(http, letter))
        except (RedisError, OSError) as error:  # its lease ends by itself
            LOG.warning("a webhook waits for Redis: %s", type(error).__name__)

    async def _tried(self, http: httpx.AsyncClient, letter: Letter) -> Result:
        try:
            view = await self._queue.get(letter.case)
            told = None if view is None else told_of(view, letter)
            if told is None:
                await self._box.drop(letter)
                return "gone"
            await self._send(http, letter, *told)
        except Undelivered as error:
            return await self._failed(letter, str(error))
        except (RedisError, OSError):
            raise
        except Exception as error:  # one letter that cannot be written must not keep the others
            LOG.error("a webhook cannot be written: %s", type(error).__name__)
            return await self._failed(letter, "the letter cannot be written")
        await self._box.drop(letter)
        return "delivered"

    async def _send(self, http: httpx.AsyncClient, letter: Letter, view: View, decision: Decision) -> None:
        hook = next((hook for hook in self._hooks(letter.tenant) if hook.url == letter.url), None)
        if hook is None:
            raise Undelivered("the address is not configured any more")
        body = body_of(letter, view, decision, await self._outputs.final(view))
        await post(http, hook.url, hook.secret.get_secret_value(), body, int(self._clock()))

    async def _failed(self, letter: Letter, error: str) -> Result:
        if letter.tries > len(self._delays):
            LOG.error("the webhook %s of %s is given up: %s", letter.id, letter.case, error)
            await self._box.bury(letter, error)
            return "dead"
        delay = self._delays[letter.tries - 1] * self._chance.uniform(1, 1 + JITTER)
        await self._box.retry(letter, error, delay)
        return "failed"

    def _hooks(self, tenant: str) -> Iterator[Webhook]:
        for hook in self._plans.plan.document.webhooks:
            if not hook.tenants or tenant in hook.tenants:
                yield hook


def stop_if_cancelled() -> None:
    """A cancellation can be lost within a call to Redis, without an error: the loop would go on for ever."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def in_force(view: View) -> int:
    """Which of the decisions, from 0; -1: none of those that are listed."""
    places = [i for i, decision in enumerate(view.reviews) if decision == view.outcome]
    return places[-1] if places else -1


def told_of(view: View, letter: Letter) -> tuple[View, Decision] | None:
    """The case as the letter's decision left it: a later one has a letter of its own."""
    listed = 0 <= letter.review < len(view.reviews)
    decision = view.reviews[letter.review] if listed else view.outcome
    return None if decision is None else (replace(view, outcome=decision), decision)


def body_of(letter: Letter, view: View, decision: Decision, output: dict[str, Any] | None) -> bytes:
    """The same for every try."""
    said = {
        "event_id": letter.event,
        "type": "review.decided",
        "case": letter.case,
        "request_id": view.case.exchange,
        "decision": decision.choice,
        "final_output": output,
        "reason_code": decision.reason,
        "policy": view.case.policy,
        "decided_at": int(letter.decided),
        "superseded": letter.superseded,
    }
    return orjson.dumps(said)
