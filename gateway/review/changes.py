"""Changes of cases as they happen, for pages and programs that listen."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import orjson
from redis.asyncio import Redis

QUIET = 1.0
"""Seconds between looks at whether whoever listens has gone."""


class Changes:
    """Listens to the queue's channel."""

    def __init__(self, redis: Redis, channel: str) -> None:
        self._redis = redis
        self._channel = channel
        self._stopped = False

    def stop(self) -> None:
        """Whoever listens hears the end within a second: the process is to end, and waits for open answers."""
        self._stopped = True

    async def of(self, tenant: str) -> AsyncGenerator[dict[str, Any], None]:
        """`{case, state}` of each change to one of the tenant's cases, from now on, until it is stopped."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(self._channel)
            while not self._stopped:
                message = await channel.get_message(timeout=QUIET)
                said = orjson.loads(message["data"]) if message else {}
                if said.get("tenant") == tenant:
                    yield {"case": said["case"], "state": said["state"]}
