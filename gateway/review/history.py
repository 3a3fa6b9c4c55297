"""The history: flagged exchanges, searched by what is known of them and by their texts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from gateway.live.flags import FlagLog
from gateway.review.queue import ReviewQueue

LARGEST = 5000
"""Flags that one search looks through, the latest."""
FIRST = 200
"""Flags that it begins with."""
AT_ONCE = 16
"""Flags whose texts are read at once."""
Flag = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filters:
    """What is searched for; empty: whatever there is."""

    text: str = ""
    """Somewhere in the request or the answer, whatever the case."""
    since: float | None = None
    """Unix time."""
    until: float | None = None
    model: str = ""
    policy: str = ""
    """Name, or `name@hash`."""
    guard: str = ""
    category: str = ""
    action: str = ""
    decision: str = ""

    @property
    def deep(self) -> bool:
        """More than a flag's head must be read."""
        return bool(self.text or self.guard or self.decision)

    def fits_head(self, head: Mapping[str, Any]) -> bool:
        policy = str(head.get("policy") or "")
        return (
            (self.until is None or moment(head) <= self.until)
            and self.model in ("", head.get("model"))
            and self.policy in ("", policy, policy.partition("@")[0])
            and self.action in ("", head.get("action"))
            and (not self.category or self.category in (head.get("categories") or ()))
        )

    def fits(self, flag: Flag) -> bool:
        guards = {v.get("guard") for v in flag.get("verdicts") or ()}
        if (self.guard and self.guard not in guards) or self.decision not in ("", flag.get("decision")):
            return False
        wanted = self.text.casefold()
        return not wanted or any(wanted in text.casefold() for text in texts_of(flag))


@dataclass(frozen=True, slots=True)
class History:
    """Reads the flag log for one tenant at a time: a client chooses request ids, and two tenants may choose alike."""

    flags: FlagLog
    queue: ReviewQueue

    async def find(self, tenant: str, filters: Filters, *, offset: int, limit: int) -> list[Flag]:
        """Heads of flags, the latest first, with `at`, and `case` and `decision` where there are any. No texts."""
        size = FIRST
        while True:
            heads = await self.flags.list(size, filters.since)
            fit = [h for h in heads if h.get("tenant") == tenant and filters.fits_head(h)]
            rows = await self._rows(tenant, fit, filters, offset, offset + limit)
            if len(rows) >= limit or len(heads) < size or size >= LARGEST:
                return rows
            size = min(LARGEST, size * 5)

    async def whole(self, tenant: str, id: str, at: float | None = None) -> Flag | None:
        """All that is known of one flag of this tenant; of several with this id the latest, or that of `at`."""
        found = await self.flags.show(id)
        if found is None:
            return None
        mine = [f for f in (found, *found.pop("earlier", ())) if f.get("tenant") == tenant]
        exact = [f for f in mine if at is None or moment(f) == at]
        if not exact:
            return None
        newest, earlier = exact[0], mine[mine.index(exact[0]) + 1 :]
        flag = {**newest, "at": moment(newest), **await self._decision(tenant, newest)}
        return {**flag, "earlier": earlier} if earlier else flag

    async def _rows(self, tenant: str, heads: list[Flag], filters: Filters, start: int, end: int) -> list[Flag]:
        """Of those that fit, from `start` to `end`. Without a deep filter no other text is read."""
        if not filters.deep:
            heads, start, end = heads[start:end], 0, end - start
        found: list[Flag] = []
        for some in batches(heads):
            for head, flag in zip(some, await self._read(tenant, some), strict=True):
                if flag is not None and filters.fits(flag):
                    found.append({**head, "at": moment(head), "case": flag["case"], "decision": flag["decision"]})
            if len(found) >= end:
                break
        return found[start:end]

    async def _read(self, tenant: str, heads: Iterable[Flag]) -> list[Flag | None]:
        return list(await asyncio.gather(*(self.whole(tenant, str(h["id"]), moment(h)) for h in heads)))

    async def _decision(self, tenant: str, flag: Flag) -> Flag:
        """Its case, and what holds of it now."""
        case = flag.get("case")
        view = await self.queue.get(str(case)) if case else None
        if view is None or view.case.tenant != tenant:
            return {"case": None, "decision": None}
        decided = view.outcome if view.closed_at is not None else None
        return {"case": view.case.id, "decision": decided.choice if decided else None}


def moment(flag: Mapping[str, Any]) -> float:
    """Unix time of the exchange's start, to the millisecond."""
    return datetime.fromisoformat(str(flag["time"])).timestamp()


def texts_of(flag: Mapping[str, Any]) -> Iterator[str]:
    yield from strings(flag.get("request"))
    yield from strings(flag.get("answer"))


def strings(root: Any) -> Iterator[str]:
    """Every string of a JSON value, however deep."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict):
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def batches(heads: Iterable[Flag]) -> Iterator[list[Flag]]:
    rest = iter(heads)
    while some := list(islice(rest, AT_ONCE)):
        yield some
