"""Who is signed in. A browser holds a random id, Redis its digest; a session ends with the key that began it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson
from redis.asyncio import Redis

from gateway.console.preferences import Preferences
from gateway.live.flags import text
from gateway.live.keys import KeyRing, digest
from gateway.review.person import Person

TTL = 12 * 3600.0
"""Seconds."""
AWAY = 600.0
"""Seconds without a sign of somebody, after which he has had his break."""
PUT = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""
"""Never brings back a session that has ended."""


@dataclass(frozen=True, slots=True)
class Work:
    """What somebody has done since his last break."""

    since: float
    """Unix time."""
    seen: float
    severe: int = 0
    """Severe cases that he decided."""

    def going_on(self, now: float) -> Work:
        return Work(now, now) if now - self.seen > AWAY else replace(self, seen=now)


@dataclass(frozen=True, slots=True)
class Last:
    """The decision that may still be undone."""

    case: str
    choice: str
    until: float
    """Unix time."""


@dataclass(frozen=True, slots=True)
class Session:
    name: str
    """Of its key in Redis."""
    person: Person
    csrf: str
    key: str
    """SHA-256 of the API key; empty: the gateway was open."""
    work: Work
    preferences: Preferences = field(default_factory=Preferences)
    last: Last | None = None


class Sessions:
    """Owns `<prefix>:<digest of the id>`, a hash of `who`, `work`, `preferences` and `last`."""

    def __init__(
        self,
        redis: Redis,
        ring: KeyRing,
        prefix: str = "{wardgate}:session",
        ttl: float = TTL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`ring` knows which keys live."""
        self._redis = redis
        self._ring = ring
        self._prefix = prefix
        self._ttl = ttl
        self._clock = clock
        self._put = redis.register_script(PUT)

    async def start(self, person: Person, key: str) -> str:
        """The id, for the cookie. `key`: SHA-256 of the API key, empty where the gateway is open."""
        id = secrets.token_urlsafe(32)
        now = self._clock()
        who = {**asdict(person), "csrf": secrets.token_urlsafe(32), "key": key}
        pipe = self._redis.pipeline(transaction=True)
        pipe.hset(self._name(id), mapping={"who": orjson.dumps(who), "work": orjson.dumps(asdict(Work(now, now)))})
        pipe.pexpire(self._name(id), int(self._ttl * 1000))
        await pipe.execute()
        return id

    async def find(self, id: str) -> Session | None:
        """None: nobody's, or over, or its key was revoked."""
        rows = await self._redis.hgetall(self._name(id)) if id else {}
        fields = {text(k): orjson.loads(v) for k, v in rows.items()}
        session = read(self._name(id), fields) if "who" in fields else None
        if session is not None and session.key and not self._lives(session.key):
            if self._ring.find(session.key) is not None:  # revoked, and not only unknown to this process yet
                await self._redis.delete(session.name)
            return None
        return session

    async def end(self, session: Session) -> None:
        await self._redis.delete(session.name)

    async def prefer(self, session: Session, preferences: Preferences) -> None:
        await self._keep(session, "preferences", asdict(preferences))

    async def worked(self, session: Session, *, severe: bool = False) -> Work:
        """Somebody is at work; `severe`: he has decided a severe case."""
        work = session.work.going_on(self._clock())
        work = replace(work, severe=work.severe + severe)
        await self._keep(session, "work", asdict(work))
        return work

    async def rested(self, session: Session) -> None:
        now = self._clock()
        await self._keep(session, "work", asdict(Work(now, now)))

    async def decided(self, session: Session, last: Last | None) -> None:
        """What may be undone now; None: nothing."""
        await self._keep(session, "last", None if last is None else asdict(last))

    async def _keep(self, session: Session, field: str, value: Any) -> None:
        await self._put(keys=[session.name], args=[field, orjson.dumps(value)])

    def _lives(self, hash: str) -> bool:
        key = self._ring.find(hash)
        return key is not None and key.revoked is None

    def _name(self, id: str) -> str:
        return f"{self._prefix}:{digest(id)}"


def read(name: str, fields: dict[str, Any]) -> Session:
    who = dict(fields["who"])
    csrf, key, last = who.pop("csrf"), who.pop("key"), fields.get("last")
    return Session(
        name,
        Person(**who),
        csrf,
        key,
        Work(**fields["work"]),
        Preferences(**fields.get("preferences", {})),
        Last(**last) if last else None,
    )
