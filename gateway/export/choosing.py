"""Which samples a training set is made of: few alike, few of one user, none that guards are measured by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from gateway.export.duplicates import Seen
from gateway.export.sample import Sample
from gateway.review.sampling import drawn

AUDIT = "audit"
SPLIT = "export"
"""Seed of the lots: a conversation falls on the same side in every export."""


@dataclass(slots=True)
class Choosing:
    """Takes samples, and counts those that it leaves out, by reason."""

    cap: int
    """Samples of one end user at most; those whose user the application did not name are not counted."""
    left_out: Counter[str]
    held: Container[str]
    """Conversations of the audit sample."""
    users: Counter[str] = field(default_factory=Counter)
    seen: Seen = field(default_factory=Seen)

    def hold(self, audits: Iterable[Sample]) -> None:
        """Keep what is like these out of training."""
        for each in audits:
            self.seen.like(essence(each), AUDIT)

    def choose(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The latest decision stands where several fall on the same text."""
        for each in sorted(samples, key=lambda s: (-s.decision.at, s.case.id)):
            reason = self._against(each)
            if reason:
                self.left_out[reason] += 1
                continue
            self.users[each.case.user] += 1
            yield each

    def _against(self, sample: Sample) -> str:
        user = sample.case.user
        if sample.conversation in self.held:
            return "held_out"
        if user and self.users[user] >= self.cap:
            return "cap_per_user"
        known = self.seen.like(essence(sample), sample.decision.choice)
        if known is None:
            return ""
        return "held_out" if known == AUDIT else "duplicate" if known == sample.decision.choice else "contradicted"


def essence(sample: Sample) -> str:
    """The last turn and what was answered: the turns before are alike within any conversation."""
    last = str(sample.prompt[-1]["content"]) if sample.prompt else ""
    return "\n".join(filter(None, (last, sample.original or sample.text, sample.rewritten)))


def side(sample: Sample, share: float) -> str:
    """`validation` for so large a share of conversations, else `train`."""
    return "validation" if drawn(SPLIT, sample.conversation, share) else "train"
