"""From decided cases to the files of a training set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.export.choosing import Choosing, side
from gateway.export.filters import Filters
from gateway.export.folder import Folder
from gateway.export.formats import Format, Row
from gateway.export.kto import weights
from gateway.export.redaction import Redactors
from gateway.export.sample import Sample, conversation_of, sample
from gateway.export.turns import Unreadable
from gateway.review.case import Matter
from gateway.review.views import View

Cases = AsyncIterator[tuple[View, Matter | None]]
"""None: the texts are gone."""
HOLDOUT = "holdout"


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants exported."""

    format: Format
    filters: Filters = field(default_factory=Filters)
    validation: float = 0.1
    """Share of conversations that go into `validation.jsonl`."""
    cap: int = 100
    """Samples of one end user at most."""
    licence: str = "unspecified"
    """Under which whoever exports gives the set on."""


@dataclass(slots=True)
class Exporter:
    """Makes one training set."""

    request: Request
    redactors: Redactors
    read: int = 0
    seen: set[str] = field(default_factory=set)
    samples: list[Sample] = field(default_factory=list)
    audits: list[Sample] = field(default_factory=list)
    """Those that are written into a file of their own."""
    others: list[Sample] = field(default_factory=list)
    """Audit samples that nobody asked for."""
    held: set[str] = field(default_factory=set)
    """Conversations of all audit samples."""
    left_out: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    guards: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Guard -> its versions."""
    versions: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Case -> guards that spoke on it, with their versions."""

    async def write(self, cases: Cases, folder: Folder, now: float) -> dict[str, Any]:
        """Write all files but do not publish them. What the manifest says.

        `cases`: of all times, whatever the filters: an audit sample of long ago is held out still.
        """
        async for view, matter in cases:
            self._take(view, matter)
        files = self._files()
        written = {f"{name}.jsonl": folder.write(f"{name}.jsonl", rows) for name, rows in files.items()}
        manifest = self._manifest(written, files, now)
        folder.manifest(manifest)
        return manifest

    def _take(self, view: View, matter: Matter | None) -> None:
        audit, wanted = view.case.source == "audit", self.request.filters.fits(view)
        if view.case.id in self.seen or not (wanted or audit):
            return
        self.seen.add(view.case.id)
        if audit and matter is not None:  # whatever was decided of it, and whenever
            self.held.add(conversation_of(view.case, matter))
        self.read += wanted
        try:
            made = self._sample(view, matter)
        except Unreadable as error:
            self.left_out[error.reason] += wanted
            return
        if wanted and (not audit or self.request.format.holdout):
            (self.audits if audit else self.samples).append(made)
        elif audit:
            self.others.append(made)
            self.left_out["held_out"] += wanted

    def _sample(self, view: View, matter: Matter | None) -> Sample:
        if matter is None:
            raise Unreadable("text_gone")
        policy = self.redactors.policy(view.case.policy)
        owner = policy.system_prompt if policy else None
        made = sample(view, matter, replaces=owner is not None and owner.mode != "prepend")
        self.versions[view.case.id] = [(str(v.get("guard")), str(v.get("version", ""))) for v in matter.verdicts]
        return self.redactors.behind(view.case.policy).clean(made)

    def _files(self) -> dict[str, list[Row]]:
        files: dict[str, list[Row]] = {"train": [], "validation": []}
        choosing = Choosing(self.request.cap, self.left_out, self.held)
        choosing.hold([*self.audits, *self.others])
        for each in ordered(choosing.choose(self._usable())):
            files[side(each, self.request.validation)] += self._rows(each)
        if self.request.format.holdout:
            files[HOLDOUT] = [row for each in ordered(self.audits) for row in self._rows(each)]
        return files

    def _usable(self) -> Iterator[Sample]:
        """Those of which this format can make rows, before they take a place from others."""
        for each in self.samples:
            if each.trouble and self.request.format.conversational:
                self.left_out[each.trouble] += 1
            elif not self.request.format.rows(each):
                self.left_out["nothing_in_this_format"] += 1
            else:
                yield each

    def _rows(self, sample: Sample) -> list[Row]:
        self.policies[sample.case.policy] += 1
        self.models[sample.case.model] += 1
        for guard, version in self.versions[sample.case.id]:
            self.guards[guard].add(version)
        return self.request.format.rows(sample)

    def _manifest(self, written: dict[str, Any], files: dict[str, list[Row]], now: float) -> dict[str, Any]:
        request = self.request
        train = files["train"]
        left_out = {reason: count for reason, count in sorted(self.left_out.items()) if count}
        advice = Counter(row["label"] for row in train) if request.format.name == "kto" else None
        return {
            "format": request.format.name,
            "created": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
            "licence": request.licence,
            "filters": asdict(request.filters),
            "cases": {"read": self.read, "exported": self.policies.total(), "left_out": left_out},
            "files": written,
            "split": {"by": "conversation", "validation": request.validation, "held_out": "audit sample"},
            "cap_per_user": request.cap,
            "policies": dict(sorted(self.policies.items())),
            "models": dict(sorted(self.models.items())),
            "guards": {name: sorted(versions) for name, versions in sorted(self.guards.items())},
            "redaction": self.redactors.told(),
            **({"kto": weights(advice[True], advice[False])} if advice is not None else {}),
        }


def ordered(samples: Iterable[Sample]) -> list[Sample]:
    """By time, so that the same cases make the same files."""
    return sorted(samples, key=lambda each: (each.case.at, each.case.id))
