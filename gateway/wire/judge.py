"""What all filters of an answer share: the guards' lanes, and the verdicts that come of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.wire.calls import CallJudge
from guards.calls import ToolCall
from guards.guard import Failure
from guards.lane import Duty, Lane
from guards.stream import BLOCK_RANK, REDACT_RANK, Decision, Release, TextFilter
from guards.text.fold import Folder
from guards.verdict import RANK, WITHHELD, Span, Stage, Verdict


@dataclass(slots=True)
class Judge:
    """What all filters of an answer share: the lane, and the verdicts that come of it."""

    lane: Lane
    watch: Lane
    """Monitored guards: they see the same texts, at the end, and hold nothing back."""
    folder: Folder
    stage: Stage
    verdicts: list[Verdict] = field(default_factory=list)
    calls: CallJudge = field(default_factory=CallJudge)
    scored: bool = False
    """Guards that score act on the texts as well."""
    floor: int = WITHHELD
    """Rank of the first action under which a call does not leave."""

    @property
    def withholds(self) -> bool:
        """Some guard does more than look on: what says a text in another form must not say more than the text."""
        return self.scored or not (self.lane.idle and self.calls.lane.idle)

    def filter(self) -> TextFilter:
        return TextFilter.new(self.lane, self.folder)

    def acts_on(self, text: str) -> bool:
        """Whether the lane would change a text that stands alone."""
        release = self.filter().feed(text, final=True)
        return release.blocked or release.redacted

    def call(self, call: ToolCall, where: str, choice: int | None) -> bool:
        """Judge a tool call that is complete: whether it is blocked, and its choice with it. `where`: its path."""
        found = self.calls.verdicts(call, self.stage, where, choice)
        self.verdicts += found
        return any(RANK[v.action] >= self.floor for v in found)

    def note(self, release: Release, where: str, choice: int | None) -> None:
        """Turn what a release decided into verdicts."""
        for decision in release.decisions:
            self.verdicts.append(self._verdict(self.lane.rules[decision.rule], decision, where, choice))
        self._failures(self.lane, release.failures, where, choice)

    def watch_text(self, text: str, where: str, choice: int | None) -> None:
        if self.watch.idle or not text:
            return
        release = TextFilter.new(self.watch, self.folder).feed(text, final=True)
        for decision in release.decisions:
            self.verdicts.append(self._verdict(self.watch.rules[decision.rule], decision, where, choice))
        self._failures(self.watch, release.failures, where, choice)

    def _verdict(self, duty: Duty, decision: Decision, where: str, choice: int | None) -> Verdict:
        match = decision.match
        return Verdict(
            guard=duty.name,
            stage=self.stage,
            field=where,
            category=duty.category,
            action=duty.enforced,
            would=duty.action,
            choice=choice,
            entity=match.entity,
            spans=(Span(match.start, min(match.end, 1 << 53)),),
            version=duty.version,
        )

    def _failures(self, lane: Lane, failures: Iterable[Failure], where: str, choice: int | None) -> None:
        for failure in failures:
            duty = lane.rules[failure.guard]
            self.verdicts.append(
                Verdict(
                    guard=duty.name,
                    stage=self.stage,
                    field=where,
                    category=duty.category,
                    action=duty.failing,
                    would=duty.on_error,
                    score=0.0,
                    choice=choice,
                    version=duty.version,
                    error=failure.error,
                )
            )

    def fail(self, where: str, error: str) -> None:
        """No guard of the lane answered."""
        for lane in (self.lane, self.watch):
            self._failures(lane, [Failure(i, error) for i in range(len(lane.rules))], where, None)

    def redacts(self, decision: Decision) -> bool:
        return REDACT_RANK <= self.lane.rules[decision.rule].rank < BLOCK_RANK
