"""The stream of decisions that took effect, read by all gateways together: each entry comes to one of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

GROUP = "webhooks"
CONSUMER = "gateway"
"""One name for all processes: Redis gives an entry out once all the same, and restarts leave no names behind."""
COUNT = 100


@dataclass(frozen=True, slots=True)
class Event:
    """A decision that took effect."""

    entry: str
    """Id in the stream."""
    case: str
    tenant: str
    at: float
    """Unix time at which it took effect."""
    superseded: bool
    """Another decision was in force before."""

    @property
    def id(self) -> str:
        return f"evt_{self.entry}"


Events = list[Event]


class Decided:
    """Reads as the group `webhooks`. An entry stays pending until it is acknowledged, which `LetterBox.put` does."""

    def __init__(self, redis: Redis, stream: str, idle: float = 30.0) -> None:
        self._redis = redis
        self.stream = stream
        self._idle = idle

    async def join(self) -> None:
        """Make the group unless it is there; it begins with the oldest entry."""
        with contextlib.suppress(ResponseError):  # BUSYGROUP; anything else comes again with the first read
            await self._redis.xgroup_create(self.stream, GROUP, id="0", mkstream=True)

    async def new(self) -> Events:
        """What nobody has been given."""
        found: Any = await self._redis.xreadgroup(GROUP, CONSUMER, {self.stream: ">"}, count=COUNT)
        return [event for _, entries in found or [] for event in await self._read(entries)]

    async def stranded(self) -> Events:
        """What somebody was given `idle` seconds ago and never acknowledged: he was killed."""
        idle = int(self._idle * 1000)
        found: Any = await self._redis.xautoclaim(self.stream, GROUP, CONSUMER, min_idle_time=idle, count=COUNT)
        return await self._read(found[1])

    async def _read(self, entries: list[Any]) -> Events:
        events: Events = []
        for id, fields in entries:
            if id is None or not fields:
                continue  # trimmed away while it was pending
            try:
                events.append(event(id, fields))
            except (KeyError, ValueError):
                await self._redis.xack(self.stream, GROUP, id)
        return events


def event(id: bytes, fields: dict[bytes, bytes]) -> Event:
    case, tenant = fields[b"case"].decode(), fields[b"tenant"].decode()
    return Event(id.decode(), case, tenant, int(fields[b"at"]) / 1e3, fields[b"superseded"] == b"1")
