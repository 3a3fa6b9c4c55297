"""The desk: what people do with cases, whichever door they come by. `/api` and the console share it.

Each method takes who asks, and does or shows no more than his role and his tenant allow.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gateway.access import Plans
from gateway.errors import InvalidRequest, RoleNotAllowed, StaleLease, UnknownCase, UnknownReview
from gateway.live.flags import FlagLog
from gateway.review.case import Level, Source, State
from gateway.review.changes import Changes
from gateway.review.decision import Decision
from gateway.review.earlier import Earlier
from gateway.review.figures import Figures, Stats
from gateway.review.history import Filters, Flag, History
from gateway.review.ledger import Ledger
from gateway.review.opened import Opened
from gateway.review.page import Line, Page, Past, hidden, independent, line, sees_text, veiled
from gateway.review.person import DECIDING, LOOKING, OPERATING, PRESENT, SENIOR, Person
from gateway.review.queue import Claim, Counts, ReviewQueue, View
from gateway.review.submission import checked_skip
from gateway.review.texts import Texts
from gateway.review.trail import Trail
from gateway.vault import Vault

__all__ = ["Claim", "Counts", "Desk", "Filters", "Letters", "Line", "Page", "Past", "Person", "Stats", "View", "Work"]
WAITING: tuple[State, ...] = ("open", "leased", "deciding")
STALE = "The case is not yours any more: it was given to somebody else, or its time ran out."
CHUNK = 200
"""Cases looked through at once."""


class Letters(Protocol):
    """Webhooks that could not be delivered."""

    async def dead(self) -> list[dict[str, Any]]:
        """Each with `id, url, case, tenant, error, at`."""

    async def resend(self, id: str) -> bool:
        """False: there is none of this id."""


@dataclass(frozen=True, slots=True)
class Work:
    """What somebody finds when he sits down."""

    counts: Counts
    mine: list[Line]
    """Those he holds."""
    waiting: list[Line]
    """Those that he may take, the most urgent first."""


class Desk:
    """`ledger` keeps who looked at which text, before he sees it."""

    def __init__(
        self,
        queue: ReviewQueue,
        vault: Vault,
        ledger: Ledger,
        flags: FlagLog,
        *,
        plans: Plans,
        changes: Changes,
        letters: Letters,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._opened = Opened(Texts(queue, vault), Earlier(queue), plans)
        self._trail = Trail(ledger, clock)
        self._history = History(flags, queue)
        self._figures = Figures(queue)
        self._changes = changes
        self._letters = letters
        self._clock = clock

    # -- the queue

    async def work(self, person: Person, limit: int = 50) -> Work:
        counts, lines = await self.counts(person), await self.list(person, limit=CHUNK)
        mine = [each for each in lines if each.state == "leased" and each.reviewer == person.id]
        levels = {"reviewer", person.level} if person.role in DECIDING else set()
        return Work(counts, mine, [e for e in lines if e.state == "open" and e.level in levels][:limit])

    async def counts(self, person: Person) -> Counts:
        person.need(PRESENT)
        return await self._queue.counts(person.tenant)

    async def list(
        self,
        person: Person,
        *,
        states: Collection[State] = WAITING,
        sources: Collection[Source] = (),
        categories: Collection[str] = (),
        level: Level | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> Lines:
        """The most urgent first. Asked for a category, it leaves out cases of which he may not know theirs yet."""
        person.need(PRESENT)
        now = self._clock()
        found: Lines = []
        start, end = (0, offset + limit) if categories else (offset, limit)
        while True:
            size = max(CHUNK, end) if categories else limit
            views = await self._queue.list(
                person.tenant,
                states=states,
                sources=sources,
                categories=categories,
                level=level,
                offset=start,
                limit=size,
            )
            found += [line(v, person, now) for v in views if not categories or not hidden(v, person, now)]
            start += size
            if not categories or len(views) < size or len(found) >= end:
                return found[offset:end] if categories else found

    async def claim(self, person: Person, wanted: str | None = None) -> Claim | None:
        """The next case, or the one that he has; `wanted`: this one, NotClaimable where he may not."""
        person.need(DECIDING)
        if wanted is not None:
            await self._own(person, wanted)
        claim = await self._queue.claim(person.tenant, person.id, level=person.level, wanted=wanted)
        return None if claim is None else await self._claimed(person, claim)

    async def renew(self, person: Person, case: str, token: int) -> float:
        """The new end of the lease, Unix time; StaleLease where it has ended."""
        await self._own(person, case, DECIDING)
        return await self._queue.renew(case, person.id, token)

    async def skip(self, person: Person, case: str, token: int, reason: str) -> None:
        """For somebody else; InvalidRequest without a reason."""
        await self._own(person, case, DECIDING)
        await self._queue.skip(case, person.id, token, checked_skip(reason))

    async def release(self, person: Person, case: str, token: int) -> None:
        await self._own(person, case, DECIDING)
        await self._queue.release(case, person.id, token)

    # -- a case

    async def open_case(self, person: Person, case: str) -> Page:
        """All that he may know of it. Where that includes its texts, the ledger says so first."""
        view = await self._own(person, case)
        now = self._clock()
        if sees_text(view, person, now):
            await self._trail.note("access", person, case=case)
        return await self._opened.page(view, person, now)

    async def reveal(self, person: Person, case: str) -> None:
        """He takes the blur off a severe text."""
        view = await self._own(person, case)
        self._check_sight(view, person)
        await self._trail.note("reveal", person, case=case)

    async def rescore(self, person: Person, case: str, edits: Mapping[str, str]) -> Rows:
        """What the output guards of the policy in force say of these texts; InvalidRequest of a blind case."""
        view = await self._own(person, case, DECIDING)
        self._check_sight(view, person)
        if hidden(view, person, self._clock()):
            raise InvalidRequest("What the guards say is hidden until you have decided on this case.")
        return await self._opened.rescore(view.case, edits)

    # -- decisions

    async def submit(self, person: Person, decision: Decision, *, key: str) -> View:
        """StaleLease unless he holds the case under the decision's token. The same `key` again changes nothing.

        Who decided, when, and whether blind is said here, whatever the decision says of it.
        """
        view = await self._own(person, decision.case, DECIDING)
        self._check_sight(view, person)
        now = self._clock()
        blind = hidden(view, person, now) or independent(view, person, now)
        decision = replace(decision, reviewer=person.id, at=now, blind=blind, bulk=False, supersedes=False)
        submitted = await self._queue.submit(await self._opened.checked(view.case, decision), key=key)
        return veiled(submitted, person, self._clock())

    async def undo(self, person: Person, case: str) -> Claim:
        """He takes back what he has just decided; NotUndoable once it is too late."""
        await self._own(person, case, DECIDING)
        return await self._claimed(person, await self._queue.undo(case, person.id))

    async def supersede(self, person: Person, decision: Decision) -> View:
        """A closed case is decided anew, by a senior or whoever decided it."""
        view = await self._own(person, decision.case, DECIDING)
        if person.role not in SENIOR and (view.outcome is None or view.outcome.reviewer != person.id):
            raise RoleNotAllowed("Only a senior, or whoever decided the case, may decide it anew.")
        now = self._clock()
        decision = replace(decision, reviewer=person.id, at=now, token=0, blind=False, bulk=False, supersedes=True)
        superseded = await self._queue.supersede(await self._opened.checked(view.case, decision, final=True))
        return veiled(superseded, person, now)

    # -- looking back

    async def history(self, person: Person, filters: Mapping[str, Any], *, offset: int = 0, limit: int = 50) -> Rows:
        """Flagged exchanges of his tenant, the latest first: heads with `at`, `case` and `decision`, no texts.

        `filters`: the fields of `Filters`.
        """
        person.need(LOOKING)
        return await self._history.find(person.tenant, Filters(**filters), offset=offset, limit=limit)

    async def flag(self, person: Person, id: str) -> Flag | None:
        """One flagged exchange with its texts, once the ledger says who looks."""
        person.need(LOOKING)
        found = await self._history.whole(person.tenant, id)
        if found is not None:
            await self._trail.note("access", person, flag=id)
        return found

    async def reveal_flag(self, person: Person, id: str) -> None:
        person.need(LOOKING)
        if await self._history.whole(person.tenant, id) is None:
            raise UnknownReview("There is no such exchange, or it is not kept any more.")
        await self._trail.note("reveal", person, flag=id)

    async def stats(self, person: Person) -> Stats:
        person.need(DECIDING)
        return await self._figures.stats(person.tenant, person.id, self._clock())

    async def agreement(self, person: Person) -> Rows:
        """`{policy, units, alpha, interval}` by policy; None where too few cases were judged twice."""
        person.need(PRESENT)
        return await self._figures.agreement(person.tenant, self._clock())

    async def ledger(self, person: Person, *, after: str = "", limit: int = 100) -> Rows:
        """`{id, hash, row}`, the oldest first; rows of other tenants are None."""
        person.need(LOOKING)
        return await self._trail.rows(person.tenant, after, limit)

    async def changes(self, person: Person) -> AsyncGenerator[dict[str, Any], None]:
        """`{case, state}` of his tenant's cases as they change, without end."""
        person.need(PRESENT)
        async with aclosing(self._changes.of(person.tenant)) as changes:
            async for change in changes:
                yield change

    # -- webhooks

    async def dead(self, person: Person) -> Rows:
        """Webhooks of his tenant's cases that could not be delivered."""
        person.need(OPERATING)
        return [letter for letter in await self._letters.dead() if letter.get("tenant") == person.tenant]

    async def resend(self, person: Person, id: str) -> None:
        """Deliver it anew; UnknownReview where there is none."""
        mine = {letter["id"] for letter in await self.dead(person)}
        if id not in mine or not await self._letters.resend(id):
            raise UnknownReview("There is no such webhook here; it may have been sent again already.")

    # -- within

    async def _own(self, person: Person, case: str, roles: Collection[Any] = PRESENT) -> View:
        """Nobody learns whether another tenant has a case of this id."""
        person.need(roles)
        view = await self._queue.get(case)
        if view is None or view.case.tenant != person.tenant:
            raise UnknownCase("There is no such case.")
        return view

    def _check_sight(self, view: View, person: Person) -> None:
        if not sees_text(view, person, self._clock()):
            raise StaleLease(STALE)

    async def _claimed(self, person: Person, claim: Claim) -> Claim:
        shown = veiled(await self._own(person, claim.case.id), person, self._clock())
        return replace(claim, case=shown.case, reviews=shown.reviews)


Lines = list[Line]  # inside Desk, `list` is its method
Rows = list[dict[str, Any]]
