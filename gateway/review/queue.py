"""The queue of cases: leases with fencing tokens, reviews that must agree, deadlines, and decisions that can be undone.

Redis is its only state, so that every replica serves the same queue and a process that dies takes nothing with it: its
leases end by themselves.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from redis.asyncio import Redis

from gateway.errors import NotClaimable, NotUndoable, StaleLease, UnknownCase
from gateway.review import scripts
from gateway.review.case import Case, Level
from gateway.review.decision import REWRITES, TIMEOUT, Choice, Decision
from gateway.review.ledger import Busy, Ledger
from gateway.review.reading import CaseReader, ms, text
from gateway.review.views import Claim, Counts, View
from gateway.review.words import Words
from gateway.vault import PlainVault, Vault

__all__ = ["Claim", "Counts", "ReviewQueue", "View"]
DAY = 86400.0
BOOST = (0.0, 600.0, 1800.0, 7200.0)
"""By severity, the seconds by which a case goes before others of the same deadline."""
LEASE = 600.0
TRIES = 200
UNREADABLE = (Busy, KeyError, TypeError, ValueError)
"""What may be wrong with one case: so it is while gateways of two versions run."""
LOG = logging.getLogger(__name__)
STALE = "The case was given to somebody else, or its time ran out. What you wrote is still here: take the case again."


class ReviewQueue(CaseReader):
    """Owns `<prefix>:*`. Times are the caller's clock: replicas must agree on it to within seconds."""

    def __init__(
        self,
        redis: Redis,
        ledger: Ledger,
        prefix: str = "{wardgate}:review",
        lease: float = LEASE,
        clock: Callable[[], float] = time.time,
        *,
        vault: Vault | None = None,
    ) -> None:
        super().__init__(redis, prefix, Words(vault or PlainVault()))
        self._ledger = ledger
        self._lease = lease
        self._clock = clock
        register = redis.register_script
        self._open = register(scripts.script(scripts.OPEN))
        self._claim = register(scripts.script(scripts.CLAIM))
        self._renew = register(scripts.script(scripts.RENEW))
        self._give_back = register(scripts.script(scripts.GIVE_BACK))
        self._submit = register(scripts.script(scripts.SUBMIT, links=True))
        self._undo = register(scripts.script(scripts.UNDO, links=True))
        self._supersede = register(scripts.script(scripts.SUPERSEDE, links=True))
        self._due = register(scripts.script(scripts.DUE))
        self._settle = register(scripts.script(scripts.SETTLE))
        self._expire = register(scripts.script(scripts.EXPIRE, links=True))
        self._forget = register(scripts.script(scripts.FORGET))

    @property
    def changes(self) -> str:
        """The channel that tells of every change: `{case, tenant, state}` as JSON."""
        return f"{self._prefix}:changed"

    @property
    def decided(self) -> str:
        """The stream of decisions that took effect: `case, tenant, at, superseded`."""
        return f"{self._prefix}:decided"

    # -- cases come

    async def open(self, case: Case, matter: bytes) -> bool:
        """Durable when it returns; False where it was there already."""
        rank = ms((case.deadline or case.opened + DAY) - BOOST[max(0, min(case.severity, 3))])
        deadline = ms(case.deadline) if case.deadline is not None else ""
        terms = [rank, case.reviews, ms(case.undo), int(case.second), deadline, ms(case.opened)]
        rest = [" ".join(case.answer_ids), case.user]
        return bool(await self._run(self._open, [case.id, case.tenant, case.dump(), matter, *terms, *rest]))

    # -- people take them

    async def claim(
        self, tenant: str, reviewer: str, *, level: Level = "reviewer", wanted: str | None = None
    ) -> Claim | None:
        """The most urgent case that this person may see; the one that he has, if he has one.

        `wanted`: this one, NotClaimable where somebody has it, or he has seen it, or it is for seniors. Then the one
        that he had goes back.
        """
        args = [tenant, reviewer, level, wanted or "", ms(self._lease)]
        found = await self._run(self._claim, args)
        if found is None:
            if wanted:
                raise NotClaimable("Somebody else has the case, or it is decided, or you have looked at it before.")
            return None
        return await self._claimed(found, reviewer)

    async def renew(self, case: str, reviewer: str, token: int) -> float:
        """The new end of the lease, Unix time; StaleLease where it has ended."""
        until = await self._run(self._renew, [case, reviewer, token, ms(self._lease)])
        if until is None:
            raise StaleLease(STALE)
        return int(until) / 1e3

    async def release(self, case: str, reviewer: str, token: int) -> None:
        """Give it back; he may take it again."""
        await self._back(case, reviewer, token, "")

    async def skip(self, case: str, reviewer: str, token: int, reason: str) -> None:
        """Give it back for others. The third time it goes to a senior."""
        said = await self._words.text(await self._tenant(case), reason or "no reason")
        await self._back(case, reviewer, token, said)

    async def _back(self, case: str, reviewer: str, token: int, reason: str) -> None:
        if await self._run(self._give_back, [case, reviewer, token, reason]) is None:
            raise StaleLease(STALE)

    async def _claimed(self, found: Sequence[Any], reviewer: str) -> Claim:
        id, token, expires = text(found[0]), int(found[1]), int(found[2]) / 1e3
        seen = await self.get(id)
        if seen is None:
            raise UnknownCase("There is no such case.")
        hidden = seen.case.blind or seen.phase == "second"
        return Claim(seen.case, token, expires, () if hidden else seen.reviews)

    # -- people decide

    async def submit(self, decision: Decision, *, key: str) -> View:
        """StaleLease unless the decision's token is that of the live lease. The same `key` again changes nothing."""
        kept = await self._entry(decision)
        args = [decision.case, decision.reviewer, decision.token, key, decision.choice, kept]
        return await self._linked(self._submit, args, decision)

    async def undo(self, case: str, reviewer: str) -> Claim:
        """Take back what one has just said, and the case with it; NotUndoable once it is too late."""
        row = {"kind": "undo", "case": case, "reviewer": reviewer, "at": self._clock()}
        found = await self._chained(self._undo, [case, reviewer, ms(self._lease)], row)
        if found is None:
            raise NotUndoable("It is too late: the decision has taken effect, or somebody has gone on with the case.")
        return await self._claimed(found, reviewer)

    async def supersede(self, decision: Decision) -> View:
        """Decide a closed case anew. Who may is for the caller to know."""
        key = hashlib.sha256(decision.dump()).hexdigest()
        return await self._linked(self._supersede, [decision.case, key, await self._entry(decision)], decision)

    async def settle(self) -> list[View]:
        """Close what can no longer be undone, and what nobody decided in time. Each is returned by one call alone."""
        due = await self._run(self._due, [])
        closed: list[View] = []
        for id, kind in zip(map(text, due[::2]), map(text, due[1::2]), strict=True):
            try:
                ended = await self._run(self._settle, [id]) if kind == "decided" else await self._late(id)
                if ended == 1 and (found := await self.get(id)) is not None:
                    closed.append(found)
            except UNREADABLE as error:  # those behind it must not wait
                LOG.error("case %s cannot be settled: %s", id, type(error).__name__)
        return closed

    async def _late(self, id: str) -> Any:
        found = await self.get(id)
        if found is None:
            return 0
        choice: Choice = "allow" if found.case.on_deadline == "allow" else "block"
        decision = Decision(id, choice, TIMEOUT, self._clock())
        return await self._chained(self._expire, [id, await self._entry(decision)], row_of(decision))

    async def _linked(self, script: Any, args: list[Any], decision: Decision) -> View:
        if await self._chained(script, args, row_of(decision)) in (b"stale", "stale"):
            raise StaleLease(STALE)
        found = await self.get(decision.case)
        if found is None:
            raise UnknownCase("There is no such case.")
        return found

    async def _chained(self, script: Any, args: list[Any], row: dict[str, Any]) -> Any:
        """Run a script that appends a row to the ledger, again while others append theirs."""
        row = {**row, "tenant": await self._tenant(row["case"])}
        for _ in range(TRIES):
            link = await self._ledger.link(row)
            keys = [self._prefix, *self._ledger.keys]
            found = await script(keys=keys, args=[ms(self._clock()), *args, *link])
            if found not in (b"moved", "moved"):
                return found
        raise Busy("the ledger is too busy")

    async def forget(self, case: str) -> bool:
        """Remove every trace but the ledger's rows, which hold no text."""
        found = await self.get(case)
        if found is None:
            return False
        return bool(await self._run(self._forget, [case, " ".join(found.case.answer_ids), found.case.user]))

    async def _entry(self, decision: Decision) -> bytes:
        sealed = await self._words.seal(await self._tenant(decision.case), decision)
        return word_of(decision).encode() + b" " + sealed.dump()

    async def _run(self, script: Any, args: Sequence[Any]) -> Any:
        return await script(keys=[self._prefix], args=[ms(self._clock()), *args])


def word_of(decision: Decision) -> str:
    """What must agree between reviewers: rewrites agree when their texts do."""
    if decision.choice not in REWRITES:
        return decision.choice
    edits = orjson.dumps(decision.edits, option=orjson.OPT_SORT_KEYS)
    return f"{decision.choice}:{hashlib.sha256(edits).hexdigest()[:16]}"


def row_of(decision: Decision) -> dict[str, Any]:
    """The ledger's row: of texts only digests."""
    said = orjson.loads(decision.dump())
    said.pop("sealed")
    hidden = {k: hashlib.sha256(said[k].encode()).hexdigest() for k in ("note",) if said[k]}
    edits = {k: hashlib.sha256(v.encode("utf-8", "surrogatepass")).hexdigest() for k, v in decision.edits.items()}
    return {"kind": "decision", **said, **hidden, "edits": edits}
