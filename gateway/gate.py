"""The model lane of a stream: bytes wait here until the guards that score have judged the text in them.

New text is judged in windows that overlap with what went before, while the model goes on writing; a choice that has
ended is judged once more as a whole before its end leaves. `slack` characters may leave unjudged: none under `strict`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from gateway.following import CAP, Followed, Window, text_of
from gateway.scoring import notable, withheld
from gateway.wire.surface import AnswerFilter
from guards.scored import ScoredLane
from guards.verdict import RANK, Span, Verdict

if TYPE_CHECKING:
    from gateway.pipeline import Run

BACKLOG = 1 << 20
"""Bytes waiting from which on the upstream is not read further."""


class Held(NamedTuple):
    """Bytes that wait."""

    data: bytes
    marks: dict[str, int]
    """Field -> how much of it must have passed."""
    ends: frozenset[int]
    """Choices that end in these bytes: they must have passed as a whole."""
    verdicts: int
    """How many the exchange had when the bytes were written."""


@dataclass(slots=True)
class Gate:
    """Of one stream. One task judges, one sends; whoever reads the upstream only puts in."""

    run: Run
    filter: AnswerFilter
    rules: ScoredLane
    """Those that act, and those that they wait for."""
    slack: int
    question: str
    queue: deque[Held] = field(default_factory=deque)
    queued: int = 0
    followed: dict[str, Followed] = field(default_factory=dict)
    announced: set[int] = field(default_factory=set)
    """Choices whose end is in the queue, or was."""
    concluded: set[int] = field(default_factory=set)
    """Choices that passed as a whole."""
    best: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """(guard, category, field) -> rank of the highest verdict so far."""
    opened: bool = False
    """Some text has passed."""
    complete: bool = False
    """Nothing more will be put in."""
    decided: bool = False
    """Nothing more will be judged."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """For the task that judges."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """For the task that sends."""
    room: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None
    lane: ScoredLane = field(init=False)
    """The rules, less those that failed."""

    def __post_init__(self) -> None:
        self.lane = self.rules
        self.room.set()

    # -- for the reader of the upstream

    async def around(self, reading: Coroutine[object, object, None]) -> None:
        """Judge and send while `reading` puts in; returns once all has left, or a block has ended it all."""
        judging, sending = asyncio.create_task(self._judge()), asyncio.create_task(self._send())
        read = asyncio.create_task(reading)
        tasks = (judging, sending, read)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if read.done():
                read.result()
                self.complete = True
                self.wake.set()
                await asyncio.wait((judging, sending), return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks[:2]:
                if task.done():
                    task.result()
            await sending
        finally:
            if self.timer is not None:
                self.timer.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def put(self, data: bytes) -> None:
        """Bytes that the exact lane let go; the text in them is what the filter has taken in so far."""
        now = asyncio.get_running_loop().time()
        marks: dict[str, int] = {}
        for track in self.filter.tracks():
            known = self.followed.get(track.field)
            if known is None:
                known = self.followed[track.field] = Followed(track)
            marks[track.field] = track.written.size
            if known.since is None and known.unjudged > 0:
                known.since = now
        if data:
            ends = frozenset(self.filter.finished() - self.announced)
            self.announced |= ends
            self.queue.append(Held(data, marks, ends, len(self.run.exchange.verdicts)))
            self.queued += len(data)
            if self.full:
                self.room.clear()
        self._notify(now)

    @property
    def full(self) -> bool:
        return self.queued > BACKLOG

    def _notify(self, now: float) -> None:
        if self._passes():
            self.ready.set()
        if any(self._due(now)):
            self.wake.set()
        elif self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(CAP, self._ring)

    def _ring(self) -> None:
        self.timer = None
        self.wake.set()

    # -- the judging task

    async def _judge(self) -> None:
        loop = asyncio.get_running_loop()
        while not (self.complete and not self._waits()):
            await self.wake.wait()
            self.wake.clear()
            while windows := list(self._due(loop.time())):
                await self._round(windows)
                self.ready.set()
            self._conclude(self.filter.finished())
            self.ready.set()
            if self._waits() and self.timer is None:
                self.timer = loop.call_later(CAP, self._ring)
        self.decided = True
        self.ready.set()

    def _waits(self) -> bool:
        return any(f.unjudged for f in self._live()) or not self.filter.finished() <= self.concluded

    # -- the sending task

    async def _send(self) -> None:
        while not (self.decided and not self.queue):
            await self.ready.wait()
            self.ready.clear()
            await self._release()

    def _live(self) -> Iterator[Followed]:
        return (f for f in self.followed.values() if not f.gone)

    def _due(self, now: float) -> Iterator[Window]:
        ended = self.filter.finished()
        for followed in self._live():
            choice = followed.track.choice
            if choice in ended:
                if choice not in self.concluded and not (followed.whole and not followed.unjudged):
                    yield followed.window(whole=True)
            elif followed.due(now) or (self.complete and followed.unjudged):
                yield followed.window(whole=False)

    async def _round(self, windows: Sequence[Window]) -> None:
        ended = self.filter.finished()
        began = self.run.judging.clock()
        verdicts = await self.lane.check([text_of(w, self.question) for w in windows])
        self.run.judging.spent(self.lane.stage, self.run.judging.clock() - began)
        await self._keep(verdicts, windows)
        blocked = withheld(verdicts, self.run.guarded.floor)
        if blocked:
            self._expose(verdicts)
        now = asyncio.get_running_loop().time()
        for followed, start, end in windows:
            if followed.track.choice not in blocked:
                followed.judged, followed.whole = end, start == 0
                followed.since = now if followed.unjudged else None
        self.opened = True
        self._conclude(ended)
        if blocked:
            self._refuse(blocked)

    def _conclude(self, ended: frozenset[int]) -> None:
        for choice in ended - self.concluded:
            texts = [f for f in self._live() if f.track.choice == choice]
            if all(f.whole and not f.unjudged for f in texts):
                self.concluded.add(choice)

    async def _keep(self, verdicts: Sequence[Verdict], windows: Sequence[Window]) -> None:
        """Only what is news: a window that finds no more than an earlier one says nothing."""
        spans = {w.followed.track.field: Span(w.start, w.end) for w in windows}
        fresh = []
        for v in notable(verdicts):
            key, rank = (v.guard, v.category, v.field), RANK[v.would] + 10 * bool(v.error)
            if rank > self.best.get(key, 0):
                self.best[key] = rank
                fresh.append(replace(v, spans=(spans[v.field],)))
        failed = {v.guard for v in verdicts if v.error}
        if failed:  # it is left out for the rest of the stream
            self.lane = self.lane.without(failed)
        if fresh:
            self.run.exchange.verdicts += fresh
            await self.run.record.keep(self.filter.untold(), end=False)

    def _expose(self, verdicts: Sequence[Verdict]) -> None:
        for guard, choice in {
            (v.guard, v.choice) for v in verdicts if v.choice in withheld([v], self.run.guarded.floor)
        }:
            texts = [f for f in self._live() if f.track.choice == choice]
            chars = sum(max(0, f.sent - f.judged) for f in texts)
            if chars:
                self.run.judging.expose(guard, chars)

    def _refuse(self, choices: list[int]) -> None:
        for followed in self.followed.values():
            followed.gone |= followed.track.choice in choices
        rest = [h._replace(data=self.filter.without(h.data, choices)) for h in self.queue]
        self.queue = deque(h for h in rest if h.data)
        out: list[bytes] = []
        self.run.refuse(self.filter, choices, out)
        self.concluded |= set(choices)
        self.queue.append(Held(b"".join(out), {}, frozenset(), len(self.run.exchange.verdicts)))
        self.complete |= self.filter.done

    # -- what may leave

    def _passes(self) -> bool:
        """Whether the first bytes of the queue may leave."""
        if not self.queue or not (self.opened or self.slack or self.complete):
            return False
        held = self.queue[0]
        if not held.ends <= self.concluded:
            return False
        waiting = 0
        for name, mark in held.marks.items():
            followed = self.followed[name]
            if not followed.gone:
                waiting += max(0, mark - followed.judged)
        return waiting <= self.slack

    async def _release(self) -> None:
        out: list[bytes] = []
        while self._passes():
            held = self.queue.popleft()
            self.queued -= len(held.data)
            for name, mark in held.marks.items():
                self.followed[name].sent = max(self.followed[name].sent, mark)
            fresh = held.ends and held.verdicts != len(self.run.exchange.verdicts)
            out.append(self.filter.without(held.data, ()) if fresh else held.data)
        if not self.full:
            self.room.set()
        if out:
            await self.run.sender.more(b"".join(out))
