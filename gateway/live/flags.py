"""The flag log: every flagged exchange, kept in Redis before the bytes that it judges leave."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.exchange import FlagPart
from gateway.live.sealing import Sealing
from gateway.vault import PlainVault
from guards.verdict import RANK

APPEND = """
redis.call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[4])
if KEYS[3] then redis.call('SADD', KEYS[3], ARGV[5]) end
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
"""
PAGE = 64
"""Flags read in one round trip; each may hold a whole conversation."""

Head = dict[str, Any]
Heads = list[Head]  # inside FlagLog, `list` is its method
Parts = list[dict[str, Any]]
Names = list[str]
Aged = list[tuple[float, Head]]


class FlagLog:
    """Owns `<prefix>:<id>`, a hash of a flag's parts, `<prefix>s`, all flags by time, and `<prefix>-users:<digest>`.

    A client may use one request id for many requests, and each must be kept: so what names an exchange is its start
    together with its id. Parts are the fields `<at>/<seq>`, the flags by time are `<at>/<id>`.
    """

    def __init__(self, redis: Redis, prefix: str = "{wardgate}:flag", sealing: Sealing | None = None) -> None:
        self._redis = redis
        self._prefix = prefix
        self._index = f"{prefix}s"
        self._sealing = sealing or Sealing(PlainVault())
        self._append = redis.register_script(APPEND)

    async def append(self, part: FlagPart) -> bool:
        """Keeps the part, whole or not at all; False where it was there already. Any order will do."""
        at, user = repr(part.at), str(part.body.get("head", {}).get("user") or "")
        new = await self._append(
            keys=[self._key(part.id), self._index, *([self._users(user)] if user else [])],
            args=[f"{at}/{part.seq}", orjson.dumps(part.body), at, f"{at}/{part.id}", part.id],
        )
        return bool(new)

    async def list(self, limit: int, since: float | None = None) -> Heads:
        """What was flagged, newest first: who, which model and policy, what came of it; without any text."""
        oldest = "-inf" if since is None else repr(since)
        found = await self._redis.zrange(self._index, "+inf", oldest, desc=True, byscore=True, offset=0, num=limit)
        names = [text(name) for name in found if isinstance(name, bytes | str)]
        heads: Heads = []
        for start in range(0, len(names), PAGE):
            heads += await self._heads(names[start : start + PAGE])
        return heads

    async def show(self, id: str) -> dict[str, Any] | None:
        """All that is known of a flag. The earlier exchanges that bore the same id are under `earlier`."""
        exchanges = by_exchange(await self._redis.hgetall(self._key(id)))
        if not exchanges:
            return None
        opened = [(at, await self._opened(parts)) for at, parts in sorted(exchanges.items(), reverse=True)]
        newest, *earlier = [whole(id, at, parts) for at, parts in opened]
        return newest | {"earlier": earlier} if earlier else newest

    async def of_user(self, user: str) -> Names:
        """Ids of the flags of one end user, by his digest."""
        return sorted(text(id) for id in await self._redis.smembers(self._users(user)))

    async def before(self, at: float, offset: int = 0, limit: int = 1000) -> Aged:
        """The starts and heads of exchanges that began before this, the oldest first."""
        found = await self._redis.zrange(self._index, "-inf", repr(at), byscore=True, offset=offset, num=limit)
        names = [text(name) for name in found if isinstance(name, bytes | str)]
        starts = [float(name.partition("/")[0]) for name in names]
        return [*zip(starts, await self._heads(names), strict=True)]

    async def forget(self, id: str, *, at: float | None = None, user: str = "") -> int:
        """Exchanges that bore the id: all, or the one that began at `at`, or those of `user`; how many there were."""
        fields = await self._redis.hgetall(self._key(id))
        exchanges = by_exchange(fields)
        whose = {start: str(merged(parts, "head").get("user") or "") for start, parts in exchanges.items()}
        going = {start for start, of in whose.items() if at in (None, start) and user in ("", of)}
        parts = [name for name in fields if float(text(name).partition("/")[0]) in going]
        staying = {of for start, of in whose.items() if start not in going}
        pipe = self._redis.pipeline(transaction=True)
        for name in parts:
            pipe.hdel(self._key(id), text(name))
        for start in going | ({at} if at is not None else set()):
            pipe.zrem(self._index, f"{start!r}/{id}")
        for of in ({whose[start] for start in going} | {user}) - staying - {""}:
            pipe.srem(self._users(of), id)
        await pipe.execute()
        return len(going)

    async def _opened(self, parts: Parts) -> Parts:
        """With their texts unsealed."""
        tenant = str(merged(parts, "head").get("tenant") or "")
        return [await self._sealing.open(tenant, part) for part in parts]

    async def ping(self) -> None:
        await self._redis.ping()

    async def durability(self) -> str | None:
        """A warning for the operator, where the server may lose what it has acknowledged."""
        try:
            config = await self._redis.config_get("append*")
        except ResponseError:  # managed services refuse CONFIG
            return "Redis does not tell whether it syncs each write to disk (CONFIG refused): look at its settings."
        if config.get("appendonly") != "yes":
            return "Redis keeps no append-only file: flags are lost when it ends. Set `appendonly yes`."
        if config.get("appendfsync") != "always":
            return "Redis does not sync each write to disk: a crash may lose the last flags. Set `appendfsync always`."
        return None

    async def _heads(self, names: Iterable[str]) -> Heads:
        split = [name.partition("/") for name in names]
        pipe = self._redis.pipeline(transaction=False)
        for _, _, id in split:
            pipe.hgetall(self._key(id))
        hashes = await pipe.execute()
        return [
            head(id, float(at), by_exchange(fields).get(float(at), []))
            for (at, _, id), fields in zip(split, hashes, strict=True)
        ]

    def _key(self, id: str) -> str:
        return f"{self._prefix}:{id}"

    def _users(self, user: str) -> str:
        return f"{self._prefix}-users:{user}"


def text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def by_exchange(fields: Mapping[bytes | str, bytes | str]) -> dict[float, list[dict[str, Any]]]:
    """The bodies of each exchange, by its start, in the order of their numbers."""
    numbered: defaultdict[float, dict[int, dict[str, Any]]] = defaultdict(dict)
    for name, body in fields.items():
        at, _, seq = text(name).partition("/")
        numbered[float(at)][int(seq)] = orjson.loads(body)
    return {at: [parts[seq] for seq in sorted(parts)] for at, parts in numbered.items()}


def head(id: str, at: float, parts: list[dict[str, Any]]) -> Head:
    """One line of the list. Fields are None while the part that carries them has yet to arrive."""
    known = merged(parts, "head")
    verdicts = [verdict for part in parts for verdict in part.get("verdicts", [])]
    actions = [verdict.get("action", "allow") for verdict in verdicts]
    return {
        "id": id,
        "time": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
        "tenant": known.get("tenant"),
        "model": known.get("model"),
        "policy": known.get("policy"),
        "action": max(actions, key=lambda action: RANK.get(action, -1), default=known.get("action")),
        "categories": sorted({verdict["category"] for verdict in verdicts if "category" in verdict}),
        "route": known.get("route"),
    }


def whole(id: str, at: float, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The parts of one exchange as one: lists and texts run on, the rest is put together."""
    answer: defaultdict[str, str] = defaultdict(str)
    for part in parts:
        for field, piece in part.get("answer", {}).items():
            answer[field] += piece
    return {
        **merged(parts, "head"),
        **merged(parts, "end"),
        **head(id, at, parts),
        "verdicts": [verdict for part in parts for verdict in part.get("verdicts", [])],
        "answer": dict(answer),
    }


def merged(parts: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.get(key, {}).items()}
