"""The verdict cache: what classifiers said of texts, shared by all workers and replicas of one Redis.

It may forget, and it may be away: then the gateway works as if there were none. No text is in it, only digests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.metrics import Metrics
from gateway.upstream.breaker import Breaker

LOG = logging.getLogger(__name__)

WRITE = """
local size, life, left = tonumber(ARGV[1]), tonumber(ARGV[2]), redis.call('PTTL', KEYS[1])
if left ~= -2 and (left < life or redis.call('HLEN', KEYS[1]) >= size) then
  redis.call('UNLINK', KEYS[2])
  redis.call('RENAME', KEYS[1], KEYS[2])
  left = -2
end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
if left == -2 then redis.call('PEXPIRE', KEYS[1], 2 * life) end
"""
SIZE = 100_000
"""Texts in each of the two hashes: with the shipped classifier some 20 MB."""
LIFE = 3600.0
"""Seconds that a text is remembered at least, where there is room, and half of the longest."""
PATIENCE = 0.05
"""Seconds that a request waits for the cache."""
WRITTEN_WITHIN = 2.0
"""Seconds for a write, which nobody waits for."""
FAILURES = 3
"""In a row, from which on nobody asks for a while."""
BACKOFF = 2.0
"""Seconds of that while."""
GATHER = 0.25
"""Seconds for which new scores are gathered: a Redis that syncs each write to disk does so once for all of them."""
BATCH = 500
"""Texts that one write brings."""
WAITING = 4096
"""Texts that wait to be written; more are not kept."""


class Verdicts:
    """Implements `VerdictCache`. Owns `<prefix>:new` and `<prefix>:old`, hashes of digest -> packed scores.

    Writes go to the new one; once it is full or old it takes the other one's place. So the memory is bounded without
    the server's help, whose eviction flags must not suffer from.
    """

    def __init__(
        self,
        redis: Redis,
        metrics: Metrics,
        *,
        prefix: str = "{wardgate}:verdicts",
        size: int = SIZE,
        life: float = LIFE,
        patience: float = PATIENCE,
        backoff: float = BACKOFF,
    ) -> None:
        self._redis = redis
        self._metrics = metrics
        self._keys = [f"{prefix}:new", f"{prefix}:old"]
        self._write = redis.register_script(WRITE)
        self._limits = [size, round(life * 1000)]
        self._patience = patience
        self._breaker = Breaker(time.monotonic, FAILURES, backoff)
        self._waiting: dict[bytes, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    async def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """One round trip; none where all is still waiting to be written."""
        found = {key: data for key in keys if (data := self._waiting.get(key)) is not None}
        missing = [key for key in keys if key not in found]
        asked = await self._ask(missing) if missing else {}
        found |= asked or {}
        self._metrics.recalled(len(found), len(keys) - len(found), away=asked is None)
        return [found.get(key) for key in keys]

    async def _ask(self, keys: Sequence[bytes]) -> dict[bytes, bytes] | None:
        """What Redis knows. What has become old there is written anew: a chat that goes on is not forgotten."""

        def ask() -> Awaitable[list[Any]]:
            pipe = self._redis.pipeline(transaction=False)
            for name in self._keys:
                pipe.hmget(name, keys)
            return pipe.execute()

        rows = await self._try(ask, self._patience)
        if rows is None:
            return None
        new, old = ({k: data for k, data in zip(keys, row, strict=True) if data is not None} for row in rows)
        self.put_many({key: data for key, data in old.items() if key not in new})
        return old | new

    def put_many(self, found: Mapping[bytes, bytes]) -> None:
        room = max(0, WAITING - len(self._waiting))
        self._waiting.update(islice(found.items(), room))
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self.flush())

    async def flush(self) -> None:
        """Write what waits. What cannot be written is forgotten: its text will be judged again."""
        while self._waiting:
            batch = dict(islice(self._waiting.items(), BATCH))
            args: list[bytes | int] = [*self._limits, *(each for pair in batch.items() for each in pair)]
            await self._try(partial(self._write, keys=self._keys, args=args), WRITTEN_WITHIN)
            for key in batch:
                self._waiting.pop(key, None)

    async def close(self) -> None:
        """Before Redis is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        await self.flush()

    async def _try(self, ask: Callable[[], Awaitable[Any]], patience: float) -> Any:
        """Redis's answer, or None where there is none in time. One that failed again and again is left alone."""
        if not self._breaker.ready():
            return None
        before = self._breaker.state
        self._breaker.begin()
        try:
            async with asyncio.timeout(patience):
                answer = await ask()
        except (RedisError, OSError) as error:
            self._breaker.fail()
            if before == "closed" and self._breaker.state != "closed":
                LOG.warning("the verdict cache is away: %s", type(error).__name__)
            return None
        except BaseException:
            self._breaker.abandon()
            raise
        self._breaker.succeed()
        if before != "closed":
            LOG.info("the verdict cache is back")
        return answer if answer is not None else ()
