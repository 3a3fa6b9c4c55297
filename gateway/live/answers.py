"""Answers that are kept for a while, for clients that ask again under the same `Idempotency-Key`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

import orjson
from redis.exceptions import RedisError

from gateway.live.batch import Arg, Away, Batch, Script
from gateway.vault import Destroyed, PlainVault, Vault

State = Literal["new", "in_progress", "mismatch", "replayed"]
LEASE = 30.0
"""Seconds for which a request that is being answered counts as such without a sign of life: one that was killed."""

ROOM = 64 << 20
"""Bytes of all answers that are kept for one tenant. More of them, and the oldest are forgotten first."""
STATES: tuple[State, ...] = ("new", "in_progress", "mismatch", "replayed")

BEGIN = Script("""
local known = redis.call('HMGET', KEYS[1], 'request', 'head', 'body')
if not known[1] then
  redis.call('HSET', KEYS[1], 'request', ARGV[1], 'owner', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {0}
end
if known[1] ~= ARGV[1] then return {2} end
if not known[2] then return {1} end
return {3, known[2], known[3]}
""")
"""ARGV: digest of the request, who asks, lease in ms."""

OWNED = "if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end\n"

KEEP = Script(
    OWNED
    + """
if redis.replicate_commands then redis.replicate_commands() end
local life, room, stem, id = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]
local time, size = redis.call('TIME'), #ARGV[2] + #ARGV[3] + 500
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HDEL', KEYS[1], 'owner')
redis.call('HSET', KEYS[1], 'head', ARGV[2], 'body', ARGV[3])
redis.call('PEXPIRE', KEYS[1], life)
local total = tonumber(redis.call('GET', KEYS[3]) or 0)
local function forget(all)
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if not first[1] or not (all or tonumber(first[2]) <= now) then return false end
  local old, bytes = string.match(first[1], '^(%S+) (%d+)$')
  redis.call('DEL', stem .. old)
  redis.call('ZREM', KEYS[2], first[1])
  total = total - bytes
  return true
end
while forget(false) do end
if redis.call('ZADD', KEYS[2], now + life, id .. ' ' .. size) == 1 then total = total + size end
while total > room and forget(true) do end
redis.call('SET', KEYS[3], math.max(total, 0), 'PX', life)
redis.call('PEXPIRE', KEYS[2], life)
if KEYS[4] then
  redis.call('SADD', KEYS[4], id)
  redis.call('PEXPIRE', KEYS[4], life)
end
return 1
"""
)
"""KEYS: the answer, the tenant's answers by the end of their lives, the bytes of all, and those of its end user.

ARGV: owner, head, body, life in ms, bytes for all, how the names of answers begin, how this one's goes on.
"""
RENEW = Script(OWNED + "return redis.call('PEXPIRE', KEYS[1], ARGV[2])")
FORGET = Script("""
local gone = 0
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do gone = gone + redis.call('DEL', ARGV[1] .. id) end
redis.call('DEL', KEYS[1])
return gone
""")
DROP = Script(OWNED + "return redis.call('DEL', KEYS[1])")


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it left, streamed or not."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Found(NamedTuple):
    state: State
    answer: Kept | None = None


class Answers:
    """Owns `{<prefix>:<digest of the tenant>}:<digest of tenant and key>`: the request's digest, its owner or answer.

    Beside them `…:kept` and `…:size`: no tenant may fill the memory in which flags are kept.
    """

    def __init__(
        self,
        batch: Batch,
        prefix: str = "wardgate:answer",
        lease: float = LEASE,
        room: int = ROOM,
        *,
        vault: Vault | None = None,
    ) -> None:
        self._vault = vault or PlainVault()
        self._batch = batch
        self._room = room
        self._prefix = prefix
        self.lease = lease

    def name(self, tenant: str, key: str) -> str:
        """One tenant's keys never meet another's."""
        return f"{self._stem(tenant)}:{hashlib.sha256(orjson.dumps([tenant, key])).hexdigest()}"

    def _stem(self, tenant: str) -> str:
        return f"{{{self._prefix}:{hashlib.sha256(orjson.dumps(tenant)).hexdigest()[:32]}}}"

    async def begin(self, name: str, request: str, owner: str, tenant: str = "") -> Found:
        """What is known under this name; `new` makes the caller its owner. `Away` without Redis.

        An answer whose key is gone is given anew.
        """
        state, *answer = await self._batch.call(BEGIN, [name], [request, owner, int(self.lease * 1000)])
        try:
            return Found(STATES[state], await self._read(tenant, *answer) if answer else None)
        except Destroyed:
            return Found("new")
        except (RedisError, OSError) as error:
            raise Away("Redis does not answer") from error

    async def keep(
        self, name: str, owner: str, answer: Kept, seconds: float, *, tenant: str = "", user: str = ""
    ) -> None:
        """`user`: digest of the end user, by which `forget` finds it."""
        head = orjson.dumps({"status": answer.status, "headers": answer.headers})
        stem, _, id = name.rpartition(":")
        body = await self._vault.seal(tenant, answer.body)
        args: list[Arg] = [owner, head, body, int(seconds * 1000), self._room, f"{stem}:", id]
        whose = [f"{stem}:user:{user}"] if user else []
        await self._batch.call(KEEP, [name, f"{stem}:kept", f"{stem}:size", *whose], args)

    async def forget(self, tenant: str, user: str) -> int:
        """The answers to one end user, by his digest; how many there were."""
        stem = self._stem(tenant)
        return int(await self._batch.call(FORGET, [f"{stem}:user:{user}"], [f"{stem}:"]))

    async def _read(self, tenant: str, head: bytes, body: bytes) -> Kept:
        data = orjson.loads(head)
        headers = [(name, value) for name, value in data["headers"]]
        return Kept(data["status"], headers, await self._vault.unseal(tenant, body))

    def renew(self, name: str, owner: str) -> None:
        self._batch.tell(RENEW, [name], [owner, int(self.lease * 1000)])

    def drop(self, name: str, owner: str) -> None:
        """There is no answer to keep: whoever asks again is served anew."""
        self._batch.tell(DROP, [name], [owner])
