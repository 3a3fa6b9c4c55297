"""Letters: an event on its way to one address. No text is in them; it is put in when the letter is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from gateway.live.flags import text
from gateway.review.decided import GROUP, Event

LEASE = 60.0
"""Seconds after which a letter that somebody took is given to another: he was killed. Longer than a try takes."""
KEPT = 10_000
"""Dead letters; the oldest go first."""

NAMES = """
local P, now = KEYS[1], tonumber(ARGV[1])
local dead, urls = P .. ':dead', P .. ':hooks'
local function name(id) return P .. ':hooks:letter:' .. id end
local function due(url) return P .. ':hooks:due:' .. redis.sha1hex(url) end
local function held(id, token) return redis.call('HGET', name(id), 'token') == token end
"""

PUT = (
    NAMES
    + """
if redis.call('XACK', KEYS[2], ARGV[2], ARGV[3]) == 0 then return 0 end
for i = 10, #ARGV do
  local url = ARGV[i]
  local id = redis.sha1hex(ARGV[3] .. ' ' .. url)
  redis.call('HSET', name(id), 'id', id, 'url', url, 'event', ARGV[4], 'case', ARGV[5], 'tenant', ARGV[6],
    'decided', ARGV[7], 'superseded', ARGV[8], 'review', ARGV[9], 'tries', 0, 'token', 0)
  redis.call('ZADD', due(url), now, id)
  redis.call('SADD', urls, url)
end
return 1
"""
)
"""KEYS: prefix, stream. ARGV: now, group, entry, event, case, tenant, decided, superseded, review, addresses."""

TAKE = (
    NAMES
    + """
local url = ARGV[3]
local id = redis.call('ZRANGEBYSCORE', due(url), '-inf', now, 'LIMIT', 0, 1)[1]
if not id then
  if redis.call('ZCARD', due(url)) == 0 then redis.call('SREM', urls, url) end
  return {}
end
redis.call('ZADD', due(url), now + tonumber(ARGV[2]), id)
redis.call('HINCRBY', name(id), 'token', 1)
redis.call('HINCRBY', name(id), 'tries', 1)
return redis.call('HGETALL', name(id))
"""
)
"""ARGV: now, lease in ms, address."""

DROP = (
    NAMES
    + """
local id = ARGV[2]
if not held(id, ARGV[3]) then return 0 end
redis.call('ZREM', due(redis.call('HGET', name(id), 'url')), id)
return redis.call('DEL', name(id))
"""
)
"""ARGV: now, letter, token."""

RETRY = (
    NAMES
    + """
local id = ARGV[2]
if not held(id, ARGV[3]) then return 0 end
redis.call('HSET', name(id), 'error', ARGV[4])
redis.call('ZADD', due(redis.call('HGET', name(id), 'url')), now + tonumber(ARGV[5]), id)
return 1
"""
)
"""ARGV: now, letter, token, error, delay in ms."""

BURY = (
    NAMES
    + """
local id = ARGV[2]
if not held(id, ARGV[3]) then return 0 end
redis.call('HSET', name(id), 'error', ARGV[4])
redis.call('ZREM', due(redis.call('HGET', name(id), 'url')), id)
redis.call('ZADD', dead, now, id)
local over = redis.call('ZCARD', dead) - tonumber(ARGV[5])
if over > 0 then
  for _, old in ipairs(redis.call('ZRANGE', dead, 0, over - 1)) do
    redis.call('ZREM', dead, old)
    redis.call('DEL', name(old))
  end
end
return 1
"""
)
"""ARGV: now, letter, token, error, how many are kept."""

RESEND = (
    NAMES
    + """
local id = ARGV[2]
if redis.call('ZREM', dead, id) == 0 then return 0 end
local url = redis.call('HGET', name(id), 'url')
if not url then return 0 end
redis.call('HSET', name(id), 'tries', 0)
redis.call('ZADD', due(url), now, id)
redis.call('SADD', urls, url)
return 1
"""
)
"""ARGV: now, letter."""


@dataclass(frozen=True, slots=True)
class Letter:
    id: str
    url: str
    event: str
    case: str
    tenant: str
    decided: float
    """Unix time at which the decision took effect."""
    superseded: bool
    review: int
    """Which of the case's decisions, from 0; -1: the one in force."""
    tries: int
    """This one too."""
    token: int
    """Of the lease: who has lost it changes nothing."""
    error: str = ""
    """Why the last try failed."""


Letters = list[Letter]


class LetterBox:
    """Owns `<prefix>:hooks`, the addresses with letters, and `<prefix>:dead`, the letters that were given up.

    Beside them `<prefix>:hooks:due:<digest of the address>`, its letters by when they are due, and
    `<prefix>:hooks:letter:<id>`.
    """

    def __init__(
        self,
        redis: Redis,
        prefix: str = "{wardgate}:review",
        lease: float = LEASE,
        kept: int = KEPT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self._lease = lease
        self._kept = kept
        self._clock = clock
        self._put = redis.register_script(PUT)
        self._take = redis.register_script(TAKE)
        self._drop = redis.register_script(DROP)
        self._retry = redis.register_script(RETRY)
        self._bury = redis.register_script(BURY)
        self._resend = redis.register_script(RESEND)

    async def put(self, stream: str, event: Event, urls: Iterable[str], review: int = -1) -> bool:
        """A letter to each address, and the event acknowledged, in one step; False where somebody did it before."""
        told: list[str | int] = [event.id, event.case, event.tenant, repr(event.at), int(event.superseded), review]
        args: list[str | int] = [self._now(), GROUP, event.entry, *told, *urls]
        return bool(await self._put(keys=[self._prefix, stream], args=args))

    async def urls(self) -> list[str]:
        """Addresses with letters, in order."""
        return sorted(text(url) for url in await self._redis.smembers(f"{self._prefix}:hooks"))

    async def take(self, url: str) -> Letter | None:
        """The one that is due the longest, for the caller alone while the lease lasts."""
        return letter(await self._run(self._take, int(self._lease * 1000), url))

    async def drop(self, letter: Letter) -> None:
        """It has arrived, or there is nothing to say any more."""
        await self._run(self._drop, letter.id, letter.token)

    async def retry(self, letter: Letter, error: str, delay: float) -> None:
        """`delay`: seconds."""
        await self._run(self._retry, letter.id, letter.token, error, int(delay * 1000))

    async def bury(self, letter: Letter, error: str) -> None:
        """Give it up; it stays to be seen, and to be sent again."""
        await self._run(self._bury, letter.id, letter.token, error, self._kept)

    async def resend(self, id: str) -> bool:
        """All tries anew; False where no dead letter has this id."""
        return bool(await self._run(self._resend, id))

    async def dead(self) -> list[tuple[Letter, float]]:
        """With the Unix time at which each was given up, the newest first."""
        found: Any = await self._redis.zrange(f"{self._prefix}:dead", 0, -1, desc=True, withscores=True)
        pipe = self._redis.pipeline(transaction=False)
        for id, _ in found:
            pipe.hgetall(f"{self._prefix}:hooks:letter:{text(id)}")
        rows = [[part for pair in fields.items() for part in pair] for fields in await pipe.execute()]
        read = zip(map(letter, rows), found, strict=True)
        return [(each, score / 1e3) for each, (_, score) in read if each is not None]

    async def _run(self, script: Any, *args: str | int) -> Any:
        return await script(keys=[self._prefix], args=[self._now(), *args])

    def _now(self) -> int:
        return int(self._clock() * 1000)


def letter(row: list[bytes]) -> Letter | None:
    """Of a hash, name after name; None where it holds none."""
    said = {name.decode(): value.decode() for name, value in zip(row[::2], row[1::2], strict=True)}
    if "event" not in said:
        return None
    return Letter(
        id=said["id"],
        url=said["url"],
        event=said["event"],
        case=said["case"],
        tenant=said["tenant"],
        decided=float(said["decided"]),
        superseded=said["superseded"] == "1",
        review=int(said["review"]),
        tries=int(said["tries"]),
        token=int(said["token"]),
        error=said.get("error", ""),
    )
