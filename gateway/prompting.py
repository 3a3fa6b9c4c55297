"""The texts of a prompt: what the verdict cache is asked about them, and the exact guards over them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.scoring import prompt_texts
from gateway.wire.arguments import Arguments
from gateway.wire.judge import Judge
from gateway.wire.prompt import TextSlot
from guards.cache import Recall
from guards.scored import ScoredLane, Text

Edit = tuple[TextSlot, str]
"""A text that a guard rewrote, and how."""
FORESEEN = 1000
"""Texts up to which the cache is asked before a request is admitted: what is refused must cost little."""
LARGE_TEXT = 100_000
"""Characters from which on a text is judged in a thread, so that other exchanges go on."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The texts of a request."""

    slots: Sequence[TextSlot]
    asked: list[Text]
    """As the client wrote them, for the guards that score."""
    recall: Recall | None = None

    @classmethod
    def of(cls, slots: Sequence[TextSlot], lane: ScoredLane) -> Prompt:
        """The cache is asked at once, so that the question leaves with that for the limits."""
        asked = prompt_texts(slots)
        return cls(slots, asked, lane.recall(asked))


async def judge_texts(judge: Judge, slots: Sequence[TextSlot]) -> list[Edit]:
    """As `judge_slots`; much text in a thread, within the longest time that a rule allows: past it `on_error` holds."""
    if sum(len(s.text) for s in slots) <= LARGE_TEXT:
        return judge_slots(judge, slots)
    duties = [*judge.lane.rules, *judge.watch.rules]
    try:
        async with asyncio.timeout(max(d.timeout for d in duties)):
            return await asyncio.to_thread(judge_slots, judge, slots)
    except TimeoutError:
        judge.verdicts.clear()
        judge.fail("messages", "timeout")
        return []


def judge_slots(judge: Judge, slots: Sequence[TextSlot]) -> list[Edit]:
    """Judge every text of a prompt; the texts that a guard rewrote."""
    edits: list[Edit] = []
    for slot in slots:
        view = Arguments.read(slot.text) if slot.json else None
        text = view.text if view else slot.text
        release = judge.filter().feed(text, final=True)
        if release.decisions or release.failures:
            judge.note(release, slot.path, None)
        judge.watch_text(text, slot.path, None)
        if view and release.redacted:
            edits.append((slot, view.redact(release.decisions, judge.redacts)))
        elif release.redacted:
            edits.append((slot, release.text))
    return edits
