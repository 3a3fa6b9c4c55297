"""Keeps flags: in Redis, or while that is away in the spool, which it empties again. Or else says that it cannot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from itertools import islice

import orjson
from redis.exceptions import RedisError

from gateway.errors import FlagNotDurable
from gateway.exchange import FlagPart
from gateway.live.flags import FlagLog
from gateway.live.sealing import Sealing
from gateway.live.spool import Spool
from gateway.vault import Destroyed, PlainVault

LOG = logging.getLogger(__name__)

BATCH = 64
"""Spooled parts read at once."""


class Recorder:
    """Both places tell parts apart by exchange and number: any order will do, and a part kept twice is kept once."""

    def __init__(
        self,
        flags: FlagLog,
        spool: Spool,
        patience: float = 1.0,
        backoff: float = 2.0,
        sealing: Sealing | None = None,
    ) -> None:
        """`patience`: seconds that an answer waits for Redis; `backoff`: seconds that none does after it failed."""
        self._flags = flags
        self._spool = spool
        self._sealing = sealing or Sealing(PlainVault())
        self._patience = patience
        self._backoff = backoff
        self._healthy = True
        self._away_until = float("-inf")
        self._draining = asyncio.Lock()

    @property
    def healthy(self) -> bool:
        """Whether Redis took what it was last given."""
        return self._healthy

    @property
    def spooled(self) -> int:
        """Parts on disk that Redis has yet to take."""
        return self._spool.count

    async def keep(self, part: FlagPart) -> None:
        """Returns when the part would survive the end of this process and of Redis; FlagNotDurable otherwise."""
        try:
            part = await self._sealing.seal(part)
            if not await self._to_redis(part):
                await asyncio.to_thread(self._spool.write, part)
        except (OSError, RedisError) as error:
            LOG.error("a flag could be kept neither in Redis nor in the spool: %s", error)
            raise FlagNotDurable("The flag log is unavailable.") from error
        except Destroyed as error:  # the tenant's key is sealed with a master key that is not here
            LOG.error("a flag cannot be sealed: %s", error)
            raise FlagNotDurable("The flag log cannot seal this exchange.") from error
        except orjson.JSONEncodeError as error:  # nested too deeply, numbers past 64 bits
            LOG.error("a flag cannot be written as JSON: %s", error)
            raise FlagNotDurable("The flag log cannot hold this exchange.") from error

    async def drain(self) -> int:
        """Brings what waits in the spool to Redis; returns how many parts this call brought. Stops when Redis fails."""
        async with self._draining:
            if not (self._healthy or await self.answers()):
                return 0
            drained = 0
            parts = self._spool.parts()  # lazy: the reading is done in `take`
            while batch := await asyncio.to_thread(take, parts):
                for part in batch:
                    if not await self._to_redis(part):
                        return drained
                    drained += await asyncio.to_thread(self._spool.remove, part)
            return drained

    async def drain_forever(self, interval: float = 0.5) -> None:
        """Watches for the return of Redis, and for what killed processes left in the spool."""
        while True:
            try:
                if not (self._healthy and self._spool.quiet) and (drained := await self.drain()):
                    LOG.info("brought %d spooled parts of flags to Redis", drained)
            except OSError as error:
                LOG.error("the spool cannot be drained: %s", error)
            await asyncio.sleep(interval)

    async def _to_redis(self, part: FlagPart) -> bool:
        if not self._healthy:
            if time.monotonic() < self._away_until:
                return False
            self._away_until = time.monotonic() + self._backoff  # this answer tries; the others do not wait for it
        try:
            async with asyncio.timeout(self._patience):
                await self._flags.append(part)
        except (RedisError, OSError) as error:
            self._failed(error)
            return False
        self._works()
        return True

    async def answers(self) -> bool:
        """Whether Redis answers now."""
        try:
            async with asyncio.timeout(self._patience):
                await self._flags.ping()
        except (RedisError, OSError) as error:
            self._failed(error)
            return False
        self._works()
        return True

    def _failed(self, error: Exception) -> None:
        self._away_until = time.monotonic() + self._backoff
        if self._healthy:
            LOG.warning("Redis is away, flags go to the spool: %s", error or type(error).__name__)
        self._healthy = False

    def _works(self) -> None:
        if not self._healthy:
            LOG.info("Redis is back")
        self._healthy = True


def take(parts: Iterator[FlagPart]) -> list[FlagPart]:
    return list(islice(parts, BATCH))
