"""What a reviewer has filled in so far: shown again, just as it was, when something is in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.console.form import Form
from gateway.errors import InvalidRequest
from gateway.review.decision import CHOICES, REASONS, Choice, Decision, Reason

EDIT = "edit:"
"""Fields of the form that hold edits begin so; the place of the text follows."""


@dataclass(frozen=True, slots=True)
class Draft:
    choice: str = ""
    reason: str = ""
    severity: str = ""
    categories: tuple[str, ...] = ()
    note: str = ""
    edits: Mapping[str, str] = field(default_factory=dict)
    refusal: str = ""
    place: str = ""
    """Field that the refusal takes the place of."""
    seconds: float = 0.0
    token: int = 0
    once: str = ""
    """Names this submission: sent twice, it counts once."""

    @classmethod
    def of(cls, form: Form) -> Draft:
        return cls(
            choice=form.one("choice"),
            reason=form.one("reason"),
            severity=form.one("severity"),
            categories=tuple(form.all("category")),
            note=form.one("note").strip(),
            edits=form.under(EDIT),
            refusal=form.one("refusal").replace("\r\n", "\n"),
            place=form.one("place"),
            seconds=form.seconds("seconds"),
            token=form.whole("token"),
            once=form.one("once"),
        )

    @property
    def chosen(self) -> Choice:
        if self.choice not in CHOICES:
            raise InvalidRequest("Choose a decision first: keys 1 to 5, or 0.", param="choice")
        return self.choice

    @property
    def why(self) -> Reason | None:
        return self.reason if self.reason in REASONS else None

    @property
    def grade(self) -> int | None:
        return int(self.severity) if self.severity in {"0", "1", "2", "3"} else None

    def decision(self, case: str, reviewer: str, at: float) -> Decision:
        return Decision(
            case=case,
            choice=self.chosen,
            reviewer=reviewer,
            at=at,
            reason=self.why,
            severity=self.grade,
            categories=self.categories,
            note=self.note,
            edits=self._rewrites(),
            seconds=self.seconds,
            token=self.token,
        )

    def _rewrites(self) -> dict[str, str]:
        if self.choice == "allow_with_edit":
            return dict(self.edits)
        return {self.place: self.refusal} if self.choice == "refuse_rewrite" else {}
