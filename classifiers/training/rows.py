"""Rows to learn from: the licensed sets in a data folder, and the project's own texts in `synthetic/`."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from classifiers.classifier import Role
from classifiers.labels import HAZARDS

SYNTHETIC = Path(__file__).parent / "synthetic"
NAMES = {
    "harmful": "harm",
    "jailbreak": "jailbreak",
    "injection": "injection",
    "toxic": "toxicity",
    "refusal": "refusal",
}
"""The data folder's names of labels -> ours."""

SAFE = {"harm": 0, "jailbreak": 0, "injection": 0, "toxicity": 0}
PROMPT_KEYS: Mapping[str, Mapping[str, int]] = {
    "harm": {"harm": 1, "jailbreak": 0, "injection": 0},
    "safe": SAFE,
    "jailbreak": {"jailbreak": 1},
    "jailbreak_harm": {"jailbreak": 1, "harm": 1},
    "injection": {"injection": 1},
    "toxic": {"toxicity": 1, "jailbreak": 0, "injection": 0},
    "toxic_harm": {"toxicity": 1, "harm": 1, "jailbreak": 0, "injection": 0},
    "nontoxic": SAFE,
}
RESPONSE_KEYS: Mapping[str, Mapping[str, int]] = {
    "refusal": {"harm": 0, "toxicity": 0, "refusal": 1},
    "comply": {"harm": 1, "refusal": 0},
    "safe": {"harm": 0, "toxicity": 0, "refusal": 0},
}
"""Key of a synthetic group -> what it says of its texts; what is not named stays unlabelled."""

LIMITS: Mapping[str, int] = {
    "toxicity_davidson": 5000,
    "toxicity_civil_spans": 5000,
    "benign_clinc150": 3000,
    "responses_gptfuzz": 2500,
}
"""Rows at most of sources that would outweigh the others."""
WEIGHTS: Mapping[str, float] = {
    "harmful_red_instruct": 0.5,
    "harmful_aart": 0.5,
    "aegis_subset": 0.4,
    "cyber_cyberseceval": 0.5,
    "toxicity_civil_spans": 0.6,
    "responses_gptfuzz": 0.6,
}
"""Below 1 where the source's own notes call its labels noisy."""
LEFT_OUT = frozenset({"pii_presidio_synthetic"})
VALIDATION_SHARE = 10
"""One group in so many is held out."""


@dataclass(frozen=True, slots=True)
class Row:
    """A text with what is known of it."""

    text: str
    role: Role
    prompt: str
    labels: Mapping[str, int]
    source: str
    """File of the data folder, or family of synthetic texts."""
    group: str
    """Texts that share a template, a document or a subject: never on both sides of a split."""
    lang: str = "en"
    weight: float = 1.0

    @property
    def held_out(self) -> bool:
        digest = hashlib.sha256(f"{self.source}/{self.group}".encode()).digest()
        return digest[0] * 256 + digest[1] < 65536 // VALIDATION_SHARE


def read_all(data: Path, seed: int) -> list[Row]:
    """Every row, shared and synthetic, in a fixed order; near duplicates once."""
    rows = [*shared(data, seed), *synthetic()]
    seen: set[str] = set()
    out: list[Row] = []
    for row in rows:
        key = f"{row.role} {_key(row.text)}"
        if key not in seen:
            seen.add(key)
            out.append(row)
    return out


def _key(text: str) -> str:
    return re.sub(r"\W+", " ", text.casefold()).strip()


def shared(data: Path, seed: int) -> Iterator[Row]:
    for path in sorted(data.glob("*.jsonl")):
        if path.stem in LEFT_OUT:
            continue
        rows = [_shared_row(raw, path.stem) for raw in _lines(path)]
        rows = [r for r in rows if r.labels and r.text.strip()]
        limit = LIMITS.get(path.stem, len(rows))
        yield from random.Random(seed).sample(rows, limit) if len(rows) > limit else rows


def _shared_row(raw: Mapping[str, object], source: str) -> Row:
    said = raw["labels"]
    labels = {NAMES[k]: int(v) for k, v in said.items() if v is not None} if isinstance(said, dict) else {}
    text, prompt = str(raw["text"]), str(raw.get("prompt") or "")
    role: Role = "response" if raw["role"] == "response" else "prompt"
    return Row(
        text,
        role,
        prompt,
        labels,
        source,
        _group(source, raw, text, prompt),
        str(raw["lang"]),
        WEIGHTS.get(source, 1.0),
    )


def _group(source: str, raw: Mapping[str, object], text: str, prompt: str) -> str:
    """What the sources' notes say that rows share."""
    category = str(raw.get("category") or "")
    if source == "jailbreak_gptfuzz":
        return re.sub(r" [+(].*", "", category)
    if source in ("injection_cyberseceval", "injection_garak_giskard", "cyber_cyberseceval"):
        return f"{category}/{_key(text)[:40]}" if source != "injection_cyberseceval" else category
    if source == "responses_gptfuzz":
        return _key(prompt)[:80]
    return _key(text)[:40]


def synthetic(folder: Path = SYNTHETIC) -> Iterator[Row]:
    """The project's own texts. The family is the file's name without its numbers: `w2_harm_3` -> `harm`."""
    for path in sorted(folder.glob("*.jsonl")):
        family = re.sub(r"^w\d+_|(_[ab])?_\d+$", "", path.stem)
        for group in _lines(path):
            yield from _synthetic_rows(group, family)


def _lines(path: Path) -> Iterator[dict[str, object]]:
    with path.open(encoding="utf8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _synthetic_rows(group: Mapping[str, object], family: str) -> Iterator[Row]:
    role: Role = "response" if group["role"] == "response" else "prompt"
    keys = RESPONSE_KEYS if role == "response" else PROMPT_KEYS
    prompt, hazard = str(group.get("prompt") or ""), group.get("cat")
    for key, known in keys.items():
        texts = group.get(key)
        for text in texts if isinstance(texts, list) else ():
            labels = dict(known)
            if labels.get("harm") == 0:
                labels.update(dict.fromkeys(HAZARDS, 0))
            elif key in ("harm", "comply") and hazard is not None:
                labels.update({name: int(name == hazard) for name in HAZARDS})
            elif key in ("jailbreak_harm", "toxic_harm") and hazard is not None:
                labels[str(hazard)] = 1
            elif key == "toxic" and hazard == "hate":  # a hazard, and so harm
                labels.update({"hate": 1, "harm": 1})
            about = re.sub(r"^[a-z]{2}-", "", str(group["topic"]))  # one subject in several languages is one group
            yield Row(str(text), role, prompt, labels, f"synthetic_{family}", about, str(group["lang"]))


def by_source(rows: list[Row]) -> dict[str, list[Row]]:
    out: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        out[row.source].append(row)
    return dict(out)
