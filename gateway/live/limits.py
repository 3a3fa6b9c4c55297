"""Limits of a tenant, counted in Redis: requests and tokens a minute, and requests at a time.

The window slides in steps of 200 ms. What was admitted in one step is one bucket; a bucket counts until it is wholly
older than a minute, so that no minute, wherever it begins, ever sees more than the limit, and room comes back after
60 to 60.2 seconds. Totals are kept beside the buckets: an admission costs the same at any limit. The clock is Redis's.
Where that was set back, what was counted waits for it to catch up; by more than a minute, and a new minute begins.

Tokens are charged from an estimate, and settled once the usage is known: in the bucket of the admission while that
counts, else (and then only what the estimate fell short by) in the present one.

Nothing of this is written to Redis's disk, nor sent to its replicas: no request waits for a sync, and a Redis that is
restarted begins a new minute.

A request under way holds a slot: a member of a ZSET with the time until which it holds without a sign of life. The
gateway renews its slots; those of one that was killed run out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Literal

from gateway.live.batch import Arg, Away, Batch, Script
from guards.policy import Limits

Reason = Literal["", "requests", "tokens", "concurrent"]
REASONS: tuple[Reason, ...] = ("", "requests", "tokens", "concurrent")
SECOND_LOOK = 0.02
"""Seconds. A slot that is freed may be on its way to Redis when the client, who has his answer, asks again."""
RENEWED_AT_ONCE = 500

FORGETFUL = """
if redis.replicate_commands then redis.replicate_commands() end
redis.set_repl(redis.REPL_NONE)
"""
"""What the script writes stays in memory (https://redis.io/docs/latest/develop/programmability/lua-api/)."""

WINDOW = (
    FORGETFUL
    + """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bucket = math.floor(now / 200)
local newest = tonumber(redis.call('LINDEX', KEYS[2], -1) or 0)
if newest == 0 or newest - bucket > 300 then
  redis.call('DEL', KEYS[1], KEYS[2])
  newest = 0
elseif newest > bucket then bucket = newest end
local sums = redis.call('HMGET', KEYS[1], 'r', 't')
local requests, tokens = tonumber(sums[1] or 0), tonumber(sums[2] or 0)
local oldest = redis.call('LINDEX', KEYS[2], 0)
while oldest and bucket - oldest > 300 do
  local left = redis.call('HMGET', KEYS[1], 'r' .. oldest, 't' .. oldest)
  requests, tokens = requests - (left[1] or 0), tokens - (left[2] or 0)
  redis.call('HDEL', KEYS[1], 'r' .. oldest, 't' .. oldest)
  redis.call('LPOP', KEYS[2])
  redis.call('HSET', KEYS[1], 'r', requests, 't', tokens)
  oldest = redis.call('LINDEX', KEYS[2], 0)
end
local function charge(r, t)
  if newest ~= bucket then redis.call('RPUSH', KEYS[2], bucket) newest = bucket end
  redis.call('HINCRBY', KEYS[1], 'r' .. bucket, r)
  redis.call('HINCRBY', KEYS[1], 't' .. bucket, t)
  requests, tokens = redis.call('HINCRBY', KEYS[1], 'r', r), redis.call('HINCRBY', KEYS[1], 't', t)
  redis.call('PEXPIRE', KEYS[1], 61000)
  redis.call('PEXPIRE', KEYS[2], 61000)
end
"""
)

ADMIT = Script(
    WINDOW
    + """
local rpm, tpm, concurrent = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local need, lease = tonumber(ARGV[4]), tonumber(ARGV[6])
local reason, wait = 0, 0
local function room(field, used, limit, need)
  for _, b in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
    used = used - (redis.call('HGET', KEYS[1], field .. b) or 0)
    if used + need <= limit then return (b + 301) * 200 - now end
  end
  return 60000
end
if rpm > 0 and requests + 1 > rpm then reason, wait = 1, room('r', requests, rpm, 1)
elseif tpm > 0 and tokens + need > tpm then reason, wait = 2, room('t', tokens, tpm, need)
elseif concurrent > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], now + lease + 60000, '+inf')
  if redis.call('ZCARD', KEYS[3]) >= concurrent then reason, wait = 3, 1000
  elseif lease > 0 then
    redis.call('ZADD', KEYS[3], now + lease, ARGV[5])
    redis.call('PEXPIRE', KEYS[3], lease)
  end
end
if reason == 0 and (rpm > 0 or tpm > 0) then charge(1, need) end
local reset = newest > 0 and (newest + 301) * 200 - now or 0
local resets = {requests > 0 and reset or 0, tokens > 0 and reset or 0}
return string.format('%d %d %d %d %d %d %d', reason, requests, tokens, math.max(wait, 0), resets[1], resets[2], bucket)
"""
)
"""KEYS: window, buckets, slots. ARGV: the three limits (0: none), tokens, id, lease in ms (0: no slot).

One string, since a client reads an array element by element.
"""

LEAVE = Script(
    WINDOW
    + """
redis.call('ZREM', KEYS[3], ARGV[1])
local more = tonumber(ARGV[3])
if more ~= 0 and redis.call('HEXISTS', KEYS[1], 't' .. ARGV[2]) == 1 then
  redis.call('HINCRBY', KEYS[1], 't' .. ARGV[2], more)
  redis.call('HINCRBY', KEYS[1], 't', more)
elseif more > 0 then charge(0, more) end
"""
)
"""ARGV: id, bucket of the admission, tokens beyond those charged (below 0: fewer)."""

RENEW = Script(
    FORGETFUL
    + """
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], ends, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""
)
"""ARGV: lease in ms, ids."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What came of asking. Times are seconds from now."""

    reason: Reason
    """The limit that stands in the way; empty: admitted."""
    requests: int
    """Counted in the last minute, this one included if it was admitted."""
    tokens: int
    wait: float
    """Until there is room for this request."""
    reset_requests: float
    """Until nothing counts any more."""
    reset_tokens: float
    bucket: int
    charged: int
    """Tokens."""


class Limiter:
    """Owns `{wardgate:<tenant>}:window`, `…:buckets` and `…:slots`: one slot of a cluster for each tenant."""

    def __init__(self, batch: Batch, prefix: str = "wardgate", lease: float = 30.0) -> None:
        """`lease`: seconds after which the slots of a gateway that was killed are free again."""
        self._batch = batch
        self._prefix = prefix
        self._lease = lease
        self._held: dict[str, set[str]] = {}
        self._doubtful: deque[tuple[str, str]] = deque(maxlen=RENEWED_AT_ONCE)
        """(tenant, id) of admissions of which nobody knows what came."""

    async def admit(self, tenant: str, limits: Limits, tokens: int, id: str) -> Grant:
        """Counts a request of that many tokens if every limit has room for it; `Away` without Redis.

        A request larger than the tokens of a whole minute waits for an empty window, rather than for ever.
        """
        need = min(tokens, limits.tokens_per_minute) if limits.tokens_per_minute else 0
        grant = await self._ask(tenant, limits, need, id, self._lease)
        if grant.reason == "concurrent":
            await asyncio.sleep(SECOND_LOOK)
            grant = await self._ask(tenant, limits, need, id, self._lease)
        if limits.concurrent and not grant.reason:
            self._held.setdefault(tenant, set()).add(id)
        return grant

    async def count(self, tenant: str, limits: Limits) -> Grant:
        """Counts a request that is answered without a model; it needs no slot, and no room."""
        return await self._ask(tenant, limits.model_copy(update={"concurrent": None}), 0, "", 0)

    def leave(self, tenant: str, id: str, grant: Grant, tokens: int | None) -> None:
        """The request has ended. `tokens`: what it used; None: nobody knows, so the estimate stands."""
        more = 0 if tokens is None else tokens - grant.charged
        held = self._held.get(tenant)
        if held is not None:
            held.discard(id)
            if not held:
                del self._held[tenant]
        if more or held is not None:
            self._batch.tell(LEAVE, self._keys(tenant), [id, grant.bucket, more])

    async def renew_forever(self) -> None:
        """Signs of life for the slots in use."""
        while True:
            await asyncio.sleep(self._lease / 3)
            self.renew()

    def renew(self) -> None:
        for tenant, held in self._held.items():
            ids = list(held)
            for i in range(0, len(ids), RENEWED_AT_ONCE):
                args: list[Arg] = [int(self._lease * 1000), *ids[i : i + RENEWED_AT_ONCE]]
                self._batch.tell(RENEW, [self._keys(tenant)[2]], args)

    async def _ask(self, tenant: str, limits: Limits, need: int, id: str, lease: float) -> Grant:
        bounds = [limits.requests_per_minute or 0, limits.tokens_per_minute or 0, limits.concurrent or 0]
        args: list[Arg] = [*bounds, need, id, int(lease * 1000)]
        try:
            said = await self._batch.call(ADMIT, self._keys(tenant), args)
        except BaseException as error:  # whoever asked may have left
            if limits.concurrent and not (isinstance(error, Away) and not error.sent):
                self._doubtful.append((tenant, id))
            raise
        self._free_doubtful()
        reason, requests, tokens, wait, requests_in, tokens_in, bucket = map(int, said.split())
        return Grant(REASONS[reason], requests, tokens, wait / 1000, requests_in / 1000, tokens_in / 1000, bucket, need)

    def _free_doubtful(self) -> None:
        """Redis may have given them a slot, and the answer never came: nobody else would free it before its lease."""
        while self._doubtful:
            tenant, id = self._doubtful.pop()
            self._batch.tell(LEAVE, self._keys(tenant), [id, 0, 0])

    def _keys(self, tenant: str) -> tuple[str, str, str]:
        stem = f"{{{self._prefix}:{tenant}}}"
        return f"{stem}:window", f"{stem}:buckets", f"{stem}:slots"
