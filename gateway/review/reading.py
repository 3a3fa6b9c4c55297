"""What is known of cases: reads, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from gateway.review.case import Level, Source, State
from gateway.review.views import Counts, View, view
from gateway.review.words import Words

PAGE = 200
POLL = 0.1
"""Seconds."""


class CaseReader:
    """Reads `<prefix>:*`, which `ReviewQueue` writes."""

    def __init__(self, redis: Redis, prefix: str, words: Words) -> None:
        self._redis = redis
        self._prefix = prefix
        self._words = words

    async def get(self, case: str) -> View | None:
        return next(iter(await self._views([case])), None)

    async def matter(self, case: str) -> bytes | None:
        """The sealed texts."""
        found: Any = await self._redis.hget(self._key("case", case), "matter")
        return None if found is None else bytes(found)

    async def replace_matter(self, case: str, matter: bytes) -> bool:
        if not await self._redis.exists(self._key("case", case)):
            return False
        await self._redis.hset(self._key("case", case), "matter", matter)
        return True

    async def list(
        self,
        tenant: str,
        *,
        states: Collection[State] = ("open", "leased", "deciding"),
        sources: Collection[Source] = (),
        categories: Collection[str] = (),
        level: Level | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> Views:
        """The most urgent first, the closed ones last and the latest of them first."""
        found: Views = []
        async for each in self._all(tenant, closed="closed" in states):
            fits = each.state in states and (not sources or each.case.source in sources)
            fits = fits and (not categories or not set(categories).isdisjoint(each.case.categories))
            if fits and (level is None or each.level == level):
                found.append(each)
            if len(found) >= offset + limit:
                break
        return found[offset:]

    async def _all(self, tenant: str, *, closed: bool) -> AsyncIterator[View]:
        for name, backwards in (("open", False), *((("closed", True),) if closed else ())):
            start = 0
            while ids := await self._redis.zrange(self._key(name, tenant), start, start + PAGE - 1, desc=backwards):
                for each in await self._views(names(ids)):
                    yield each
                start += PAGE

    async def counts(self, tenant: str) -> Counts:
        pipe = self._redis.pipeline(transaction=False)
        for level in ("reviewer", "senior"):
            pipe.zcard(self._key("ready", tenant, level))
        pipe.zcard(self._key("open", tenant))
        pipe.scard(self._key("deciding", tenant))
        pipe.zcard(self._key("closed", tenant))
        pipe.zrange(self._key("opened", tenant), 0, 0, withscores=True)
        pipe.zrange(self._key("open", tenant), 0, 0)
        ready, senior, open_, deciding, closed, oldest, first = await pipe.execute()
        urgent = await self._views([text(id) for id in first])
        leased = max(0, open_ - ready - senior - deciding)
        return Counts(
            ready,
            senior,
            leased,
            deciding,
            closed,
            oldest[0][1] / 1e3 if oldest else None,
            urgent[0].case.deadline if urgent else None,
        )

    async def closed_since(self, tenant: str | None, since: float) -> AsyncIterator[View]:
        """Of one tenant or of all, the earliest decided first."""
        key = f"{self._prefix}:closed" if tenant is None else self._key("closed", tenant)
        ids = names(await self._redis.zrange(key, ms(since), "+inf", byscore=True))  # at once: cases may move meanwhile
        for start in range(0, len(ids), PAGE):
            for each in await self._views(ids[start : start + PAGE]):
                yield each

    async def wait(self, case: str, seconds: float) -> View | None:
        """The case as soon as it is decided; None where that takes longer."""
        until = time.monotonic() + seconds
        while True:
            if await self._redis.hexists(self._key("case", case), "closed"):
                return await self.get(case)
            if time.monotonic() >= until:
                return None
            await asyncio.sleep(min(POLL, max(0.0, until - time.monotonic())))

    async def opened_before(self, tenant: str, at: float) -> Names:
        """Cases that are not closed, and were opened before this."""
        return names(await self._redis.zrange(self._key("opened", tenant), "-inf", ms(at), byscore=True))

    async def by_answer(self, tenant: str, answer_id: str) -> str | None:
        """The case of a held answer."""
        found = await self._redis.hget(self._key("answers", tenant), answer_id)
        return None if found is None else text(found)

    async def by_user(self, tenant: str, user: str) -> Names:
        """The cases of one end user, by his digest."""
        return sorted(text(id) for id in await self._redis.smembers(self._key("user", tenant, user)))

    async def _tenant(self, case: str) -> str:
        found: Any = await self._redis.hget(self._key("case", case), "tenant")
        return text(found or b"")

    async def _opened(self, shown: View) -> View:
        """With what reviewers wrote."""
        if not any(each and each.sealed for each in (*shown.reviews, shown.outcome, shown.pending)):
            return shown
        tenant, open_ = shown.case.tenant, self._words.open
        reviews = tuple([await open_(tenant, each) for each in shown.reviews])
        outcome, pending = [await open_(tenant, d) if d else None for d in (shown.outcome, shown.pending)]
        return replace(shown, reviews=reviews, outcome=outcome, pending=pending)

    async def _views(self, ids: Sequence[str]) -> Views:
        pipe = self._redis.pipeline(transaction=False)
        for id in ids:
            pipe.hgetall(self._key("case", id))
            pipe.lrange(self._key("reviews", id), 0, -1)
        rows = await pipe.execute()
        views = [view(fields, said) for fields, said in zip(rows[::2], rows[1::2], strict=True) if fields]
        return [await self._opened(each) for each in views]

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


Views = list[View]  # inside CaseReader, `list` is its method
Names = list[str]


def names(found: Any) -> Names:
    return [text(id) for id in found]


def ms(seconds: float) -> int:
    return round(seconds * 1000)


def text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
