"""Answers that are kept for a while, for clients that ask again under the same `Idempotency-Key`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

import orjson

from gateway.live.batch import Batch, Script

State = Literal["new", "in_progress", "mismatch", "replayed"]
LEASE = 30.0
"""Seconds for which a request that is being answered counts as such without a sign of life: one that was killed."""

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
redis.call('HDEL', KEYS[1], 'owner')
redis.call('HSET', KEYS[1], 'head', ARGV[2], 'body', ARGV[3])
return redis.call('PEXPIRE', KEYS[1], ARGV[4])
"""
)
RENEW = Script(OWNED + "return redis.call('PEXPIRE', KEYS[1], ARGV[2])")
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
    """Owns `{<prefix>:<digest of tenant and key>}`, each a hash: the request's digest, and its owner or its answer."""

    def __init__(self, batch: Batch, prefix: str = "wardgate:answer", lease: float = LEASE) -> None:
        self._batch = batch
        self._prefix = prefix
        self.lease = lease

    def name(self, tenant: str, key: str) -> str:
        """One tenant's keys never meet another's."""
        whole = hashlib.sha256(orjson.dumps([tenant, key])).hexdigest()
        return f"{{{self._prefix}:{whole}}}"

    async def begin(self, name: str, request: str, owner: str) -> Found:
        """What is known under this name; `new` makes the caller its owner. `Away` without Redis."""
        state, *answer = await self._batch.call(BEGIN, [name], [request, owner, int(self.lease * 1000)])
        return Found(STATES[state], read(*answer) if answer else None)

    async def keep(self, name: str, owner: str, answer: Kept, seconds: float) -> None:
        head = orjson.dumps({"status": answer.status, "headers": answer.headers})
        await self._batch.call(KEEP, [name], [owner, head, answer.body, int(seconds * 1000)])

    def renew(self, name: str, owner: str) -> None:
        self._batch.tell(RENEW, [name], [owner, int(self.lease * 1000)])

    def drop(self, name: str, owner: str) -> None:
        """There is no answer to keep: whoever asks again is served anew."""
        self._batch.tell(DROP, [name], [owner])


def read(head: bytes, body: bytes) -> Kept:
    data = orjson.loads(head)
    return Kept(data["status"], [(name, value) for name, value in data["headers"]], body)
