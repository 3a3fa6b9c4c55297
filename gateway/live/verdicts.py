"""The verdict cache: what classifiers said of texts, shared by all workers and replicas of one Redis.

It may forget, and it may be away: then the gateway works as if there were none. No text is in it, only digests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.live.batch import Away, Batch, Script
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
READ = Script("""
local fields, out, size = {}, {}, tonumber(ARGV[1])
for i = 1, #ARGV[2], size do fields[#fields + 1] = string.sub(ARGV[2], i, i + size - 1) end
local found, missing, places = redis.call('HMGET', KEYS[1], unpack(fields)), {}, {}
for i, data in ipairs(fields) do
  if found[i] then out[i] = struct.pack('<BHc0', 1, #found[i], found[i])
  else missing[#missing + 1], places[#places + 1], out[i] = data, i, '\\0\\0\\0' end
end
if #missing > 0 then
  for i, data in ipairs(redis.call('HMGET', KEYS[2], unpack(missing))) do
    if data then out[places[i]] = struct.pack('<BHc0', 2, #data, data) end
  end
end
return table.concat(out)
""")
"""ARGV: bytes of a key, the keys as one string. Of each: 1 byte (0 unknown, 1 new, 2 old), the length in 2, the data.

One string there and one back, since a client spends more on each element of a list than Redis does on all of them.
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
MOST = 2000
"""Texts that one question may ask for: it must not keep Redis from what others ask. The rest counts as unknown."""
LONGEST = 0xFFFF
"""Bytes that are kept of a text."""
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
        batch: Batch,
        metrics: Metrics,
        *,
        prefix: str = "{wardgate}:verdicts",
        size: int = SIZE,
        life: float = LIFE,
        patience: float = PATIENCE,
        backoff: float = BACKOFF,
    ) -> None:
        """`redis`: for what is written; `batch`: for what is read, together with what else a request asks."""
        self._batch = batch
        self._metrics = metrics
        self._keys = [f"{prefix}:new", f"{prefix}:old"]
        self._write = redis.register_script(WRITE)
        self._limits = [size, round(life * 1000)]
        self._patience = patience
        self._breaker = Breaker(time.monotonic, FAILURES, backoff)
        self._waiting: dict[bytes, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def get_many(self, keys: Sequence[bytes]) -> Question:
        """At most one round trip; none where all is still waiting to be written. The keys are of one length."""
        found = {key: data for key in keys if (data := self._waiting.get(key)) is not None}
        missing = [key for key in keys if key not in found][:MOST]
        return Question(self, keys, found, missing, self._ask(missing) if missing else None)

    def _ask(self, keys: Sequence[bytes]) -> asyncio.Future[Any] | None:
        """None where it is not worth a try."""
        if not self._breaker.ready():
            return None
        try:
            answer = self._batch.ask(READ, self._keys, [len(keys[0]), b"".join(keys)])
        except Away:
            return None
        self._breaker.begin()
        answer.add_done_callback(self._told)
        return answer

    def _told(self, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled():
            self._breaker.abandon()
        elif isinstance(error := answer.exception(), Away):
            self._failed(error)
        else:
            self._succeeded()

    async def answer(self, question: Question) -> Sequence[bytes | None]:
        found, told = question.found, await self._patiently(question.asked) if question.asked else None
        if told is not None:
            found |= self._read(question.missing, told)
        away = bool(question.missing) and told is None
        self._metrics.recalled(len(found), len(question.keys) - len(found), away=away)
        return [found.get(key) for key in question.keys]

    async def _patiently(self, asked: asyncio.Future[Any]) -> bytes | None:
        try:
            if asked.done():
                return bytes(asked.result())
            async with asyncio.timeout(self._patience):
                return bytes(await asked)
        except Away:
            return None
        except TimeoutError as error:
            self._failed(error)
            return None

    def _read(self, keys: Sequence[bytes], told: bytes) -> dict[bytes, bytes]:
        """What has become old there is written anew: a chat that goes on is not forgotten."""
        found: dict[bytes, bytes] = {}
        old: dict[bytes, bytes] = {}
        at = 0
        for key in keys:
            age, start = told[at], at + 3
            at = start + (told[at + 1] | told[at + 2] << 8)
            if age:
                found[key] = told[start:at]
                if age == 2:
                    old[key] = found[key]
        self.put_many(old)
        return found

    def put_many(self, found: Mapping[bytes, bytes]) -> None:
        room = max(0, WAITING - len(self._waiting))
        self._waiting.update(islice(((k, data) for k, data in found.items() if len(data) <= LONGEST), room))
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

    async def _try(self, ask: Callable[[], Awaitable[Any]], patience: float) -> None:
        """What failed again and again is left alone for a while."""
        if not self._breaker.ready():
            return
        self._breaker.begin()
        try:
            async with asyncio.timeout(patience):
                await ask()
        except (RedisError, OSError) as error:
            self._failed(error)
        except BaseException:
            self._breaker.abandon()
            raise
        else:
            self._succeeded()

    def _failed(self, error: Exception) -> None:
        before = self._breaker.state
        self._breaker.fail()
        if before == "closed" and self._breaker.state != "closed":
            LOG.warning("the verdict cache is away: %s", type(error).__name__)

    def _succeeded(self) -> None:
        if self._breaker.state != "closed":
            LOG.info("the verdict cache is back")
        self._breaker.succeed()


@dataclass(slots=True)
class Question:
    """Asked already; its answer may be awaited once, or never."""

    cache: Verdicts
    keys: Sequence[bytes]
    found: dict[bytes, bytes]
    missing: Sequence[bytes]
    asked: asyncio.Future[Any] | None

    def __await__(self) -> Generator[object, None, Sequence[bytes | None]]:
        return self.cache.answer(self).__await__()
