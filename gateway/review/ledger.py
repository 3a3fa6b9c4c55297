"""The ledger: what people did, in a chain of hashes, so that no row can be changed, removed or put in unseen.

Each row's hash is SHA-256 over the hash before it and the row (as in Haber and Stornetta, 1991). Whoever keeps the head
elsewhere can prove that nothing before it was touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis

LINK = """
local function link(stream, head, expected, data, hash)
  local now = redis.call('HGET', head, 'hash') or ''
  if now ~= expected then return false end
  redis.call('XADD', stream, '*', 'data', data, 'hash', hash)
  redis.call('HSET', head, 'hash', hash)
  redis.call('HINCRBY', head, 'count', 1)
  return true
end
"""
"""For a script that appends a row in the same step as it does something else."""
APPEND = f"{LINK}\nif link(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]) then return 1 end\nreturn 0"
TRIES = 1000
PAGE = 500


class Link(NamedTuple):
    """A row that is ready to be appended, as long as the head stays as it is."""

    expected: str
    data: bytes
    hash: str


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    """Of the stream's entry: milliseconds and a number."""
    data: bytes
    hash: str

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = orjson.loads(self.data)
        return body


@dataclass(frozen=True, slots=True)
class Finding:
    """The first row that does not fit, and what is wrong with it."""

    number: int
    """From 1."""
    row: str
    """Its id; empty where it is missing."""
    wrong: str


class Busy(Exception):
    """Too many others append at once."""


class Ledger:
    """Owns `<prefix>`, a stream of rows, and `<prefix>:head`, a hash with the last row's hash and their count."""

    LINK = LINK

    def __init__(self, redis: Redis, prefix: str = "{wardgate}:ledger") -> None:
        self._redis = redis
        self.keys = (prefix, f"{prefix}:head")
        self._append = redis.register_script(APPEND)

    async def link(self, row: dict[str, Any]) -> Link:
        """The row as it would follow what is there now."""
        expected = text(await self._redis.hget(self.keys[1], "hash") or "")
        data = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
        return Link(expected, data, chained(expected, data))

    async def append(self, row: dict[str, Any]) -> str:
        """Its hash, once it is there."""
        for _ in range(TRIES):
            link = await self.link(row)
            if await self._append(keys=list(self.keys), args=list(link)):
                return link.hash
        raise Busy("the ledger is too busy")

    async def rows(self, start: str = "-", count: int | None = None) -> AsyncIterator[Row]:
        """From an id on, the oldest first; `count`: at most so many."""
        left = count
        while left is None or left > 0:
            found = await self._redis.xrange(self.keys[0], start, "+", PAGE if left is None else min(PAGE, left))
            page = read(found)
            for row in page:
                yield row
            if len(page) < PAGE:
                return
            left = None if left is None else left - len(page)
            start = f"({page[-1].id}"

    async def latest(self, count: int = 100) -> list[Row]:
        """The newest first."""
        return read(await self._redis.xrevrange(self.keys[0], "+", "-", count))

    async def head(self) -> tuple[int, str]:
        """How many rows there are, and the last one's hash."""
        found = await self._redis.hgetall(self.keys[1])
        return int(found.get(b"count", 0)), text(found.get(b"hash", b""))

    async def verify(self) -> Finding | None:
        """Compute every hash anew; None: nothing was touched."""
        count, head = await self.head()
        number, before, last = 0, "", ""
        async for row in self.rows():
            number += 1
            if row.hash != chained(before, row.data):
                return Finding(number, row.id, "was changed, or a row before it was changed, removed or put in")
            before, last = row.hash, row.id
            if number == count and before != head:
                return Finding(number, last, "is not the row that the head names: rows were written anew")
        if number < count:
            return Finding(number + 1, "", f"is missing: {count} rows were written, {number} are there")
        return await self._surplus(number, last, before) if number > count else None

    async def _surplus(self, number: int, last: str, hash: str) -> Finding | None:
        """Rows past the head that was read first: appended meanwhile, or put in by somebody who left the head alone."""
        count, head = await self.head()
        if number > count:
            return Finding(count + 1, "", f"was put in: {count} rows were written, {number} are there")
        if number == count and hash != head:
            return Finding(number, last, "is not the row that the head names: rows were written anew")
        return None


def read(found: Any) -> list[Row]:
    """Of a stream's entries."""
    return [Row(text(id), fields[b"data"], text(fields[b"hash"])) for id, fields in found]


def chained(before: str, data: bytes) -> str:
    return hashlib.sha256(before.encode() + data).hexdigest()


def text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
