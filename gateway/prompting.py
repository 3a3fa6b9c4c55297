"""The exact guards over the texts of a prompt."""

from __future__ import annotations

import asyncio

from gateway.wire.arguments import Arguments
from gateway.wire.choice import Judge
from gateway.wire.prompt import TextSlot

LARGE_TEXT = 100_000
"""Characters from which on a text is judged in a thread, so that other exchanges go on."""


async def judge_texts(judge: Judge, slots: list[TextSlot]) -> list[tuple[TextSlot, str]]:
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


def judge_slots(judge: Judge, slots: list[TextSlot]) -> list[tuple[TextSlot, str]]:
    """Judge every text of a prompt; the texts that a guard rewrote."""
    edits: list[tuple[TextSlot, str]] = []
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
