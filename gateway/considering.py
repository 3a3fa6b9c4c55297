"""An answer that a person is to judge: seen by all guards, and as it leaves by his word, one way or the other."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from gateway.review.case import Matter
from gateway.scoring import answer_texts
from gateway.wire.calls import CallJudge
from gateway.wire.judge import Judge
from gateway.wire.media import without_media
from guards.lane import Lane
from guards.verdict import RANK, Action, Verdict

if TYPE_CHECKING:
    from gateway.pipeline import Run

NOBODY = Lane((), None, ())


async def considered(run: Run, raw: dict[str, Any]) -> Matter:
    """Of a whole answer as the model gave it. What some guard blocks needs no person: the exchange knows of it then."""
    lanes, body = run.guarded.output, deepcopy(raw)
    judge = Judge(lanes.enforced.passing(), NOBODY, run.guarded.folder, "output", floor=RANK[Action.BLOCK])
    judge.calls, judge.scored = CallJudge(lanes.calls, run.exchange.request), lanes.scored.acts
    filter_ = run.wire.answer(run.ask(), judge, guarded=True)
    if filter_ is None:
        return matter_of(run, {}, None, None)
    blocked = filter_.whole(body)[1]
    note_blocks(run, judge.verdicts)
    if not lanes.scored.idle:
        note_blocks(run, await lanes.scored.check(answer_texts(filter_, run.question), quiet=True))
    texts = {track.field: track.written.text for track in filter_.tracks()}
    refused = deepcopy(body)
    filter_.refuse_whole(refused, choices_of(refused))
    return matter_of(run, texts, None if blocked else body, refused)


def note_blocks(run: Run, found: Sequence[Verdict]) -> None:
    """What the exchange does not know yet."""
    verdicts = run.exchange.verdicts
    known = {(v.guard, v.category, v.field) for v in verdicts if v.action is Action.BLOCK}
    verdicts += [v for v in found if v.action is Action.BLOCK and (v.guard, v.category, v.field) not in known]


def matter_of(run: Run, texts: dict[str, str], answer: dict[str, Any] | None, refused: dict[str, Any] | None) -> Matter:
    policy = run.guarded.policy
    request = without_media(run.record.request or run.exchange.request)
    owner = policy.system_prompt.text if policy.system_prompt else ""
    words = owner, policy.refusal, policy.escalation.notice
    return Matter(request, texts, run.record.rows(), answer, refused, *words)


def choices_of(body: dict[str, Any]) -> list[int]:
    """Numbers of the choices of a whole answer; 0 where a surface has none."""
    choices = body.get("choices")
    return [c.get("index", 0) for c in choices] if isinstance(choices, list) and choices else [0]
