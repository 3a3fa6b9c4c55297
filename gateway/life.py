"""What lives from the first request to the last: what is opened, what goes on beside requests, what is closed."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from fastapi import FastAPI
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.classifying import Classifying
from gateway.config import Config
from gateway.live.batch import Batch
from gateway.live.embedded import EmbeddedRedis
from gateway.live.flags import FlagLog
from gateway.live.keys import KeyRing
from gateway.live.limits import Limiter
from gateway.live.recorder import Recorder
from gateway.live.verdicts import Verdicts
from gateway.metrics import Metrics
from gateway.plan import OPEN
from gateway.review.changes import Changes
from gateway.review.clock import settle_forever
from gateway.review.queue import ReviewQueue
from gateway.review.records import Records
from gateway.review.webhooks import Dispatcher

LOG = logging.getLogger("wardgate")
TICK = 0.5
"""Seconds. All of the gateway's own clocks tick alike, so that an idle process wakes seldom."""
AGAIN = 0.5
"""Seconds between two cancellations of a task that does not end."""
COUNTED = 10.0
"""Seconds between looks at how many cases wait."""


@dataclass(frozen=True, slots=True)
class Live:
    """What of keys, limits and cases goes on beside the requests."""

    batch: Batch
    """Of what a request must know before it is served."""
    kept: Batch
    """Of answers that are kept: large ones must not make others wait."""
    ring: KeyRing
    limiter: Limiter
    queue: ReviewQueue
    dispatcher: Dispatcher
    records: Records
    changes: Changes


@dataclass(slots=True)
class Life:
    """What lives from the first request to the last."""

    config: Config
    recorder: Recorder
    flags: FlagLog
    redis: Redis
    verdicts: Verdicts
    embedded: EmbeddedRedis | None
    metrics: Metrics
    classifying: Classifying
    live: Live
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    reloading: asyncio.Task[bool] | None = None

    @asynccontextmanager
    async def span(self, _: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if self.embedded is not None:
                await asyncio.to_thread(self.embedded.start)
                stack.callback(self.embedded.stop)
            stack.push_async_callback(self.redis.aclose)
            stack.push_async_callback(self.verdicts.close)
            stack.push_async_callback(self.live.batch.close)
            stack.push_async_callback(self.live.kept.close)
            stack.push_async_callback(self.classifying.close)
            await self.config.start()
            stack.push_async_callback(self.config.close)
            await self._announce()
            await self.live.ring.refresh()
            live = self.live
            lasting = (live.ring.watch(), live.limiter.renew_forever(), live.dispatcher.run())
            cases = (settle_forever(live.queue), self._count_cases(), live.records.sweep_forever(self.config))
            for job in (self.config.watch(), self.recorder.drain_forever(), self._tick(), *lasting, *cases):
                stack.push_async_callback(_stop, asyncio.create_task(job))
            loop = asyncio.get_running_loop()
            hear_the_end(self.live.changes)
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
            stack.callback(loop.remove_signal_handler, signal.SIGHUP)
            settle_memory()
            self.ready.set()
            yield

    def _on_hangup(self) -> None:
        self.reloading = asyncio.get_running_loop().create_task(self.config.reload())

    async def _announce(self) -> None:
        plan = self.config.plan
        LOG.info("policies in force: %s", ", ".join(g.label for g in plan.guarded.values() if g.policy.guards))
        if not plan.document.tenants:
            LOG.warning("the config has no tenants: the gateway is OPEN to everyone who reaches it")
        if plan.document.passthrough:
            LOG.warning("no guard judges the passthrough paths: %s", ", ".join(plan.document.passthrough))
        try:
            warning = await self.flags.durability()
        except (OSError, RedisError) as error:
            warning = f"Redis does not answer ({error}); flags go to the spool"
        if warning:
            LOG.warning("%s", warning)

    async def _tick(self) -> None:
        """Keeps the embedded Redis alive, and the gauges true."""
        while True:
            if self.embedded is not None:
                self.embedded.ensure()
            for name, server in self.config.plan.servers.items():
                self.metrics.replicas(name, server.states())
            self.metrics.spooled.set(self.recorder.spooled)
            await asyncio.sleep(TICK)

    async def _count_cases(self) -> None:
        """Of all tenants together: their names are no label."""
        while True:
            try:
                names = [t.name for t in self.config.plan.document.tenants] or [OPEN]
                self.metrics.waiting([await self.live.queue.counts(name) for name in names], time.time())
            except Exception as error:  # the gauges are the least of what may fail
                LOG.debug("cases cannot be counted now: %s", type(error).__name__)
            await asyncio.sleep(COUNTED)


def hear_the_end(changes: Changes) -> None:
    """The server's own handler waits for open answers; those that never end by themselves must be told."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(number: int, frame: FrameType | None, before: Any = before) -> None:
            changes.stop()
            if callable(before):
                before(number, frame)

        signal.signal(number, handle)


def settle_memory() -> None:
    """Guards are tens of thousands of objects that live on; the collector need not walk them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


async def _stop(task: asyncio.Task[None]) -> None:
    """Again and again: now and then a cancellation is lost within a client of Redis, and the loop goes on."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN)
