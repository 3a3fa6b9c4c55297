from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from classifiers.labels import HAZARDS, LABELS
from classifiers.training.rows import PROMPT_KEYS, RESPONSE_KEYS, SYNTHETIC, Row, read_all, synthetic

ROWS = list(synthetic())


def write(folder: Path, name: str, *rows: dict[str, object]) -> None:
    base = {"role": "prompt", "prompt": None, "category": "", "source": "s", "license": "MIT", "lang": "en"}
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(base | row) for row in rows))


def labels(**known: int) -> dict[str, int | None]:
    names = ("harmful", "jailbreak", "injection", "toxic", "refusal")
    return {name: known.get(name) for name in names}


def test_shared_rows_keep_what_their_source_says_and_nothing_more(tmp_path: Path) -> None:
    write(tmp_path, "one", {"text": "hello", "labels": labels(harmful=0)}, {"text": "no label", "labels": labels()})
    rows = [r for r in read_all(tmp_path, 1) if not r.source.startswith("synthetic")]
    assert [(r.text, dict(r.labels)) for r in rows] == [("hello", {"harm": 0})]


def test_a_text_that_stands_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "a", {"text": "Hello, there!", "labels": labels(harmful=0)})
    write(tmp_path, "b", {"text": "hello there", "labels": labels(harmful=1)})
    assert sum(r.text.lower().startswith("hello, there") for r in read_all(tmp_path, 1)) == 1


def test_filled_templates_stay_on_one_side_of_the_split(tmp_path: Path) -> None:
    filled: list[dict[str, object]] = [
        {"text": f"template text {n}", "labels": labels(jailbreak=1), "category": f"GPTFuzz template 3 + question {n}"}
        for n in range(30)
    ]
    write(tmp_path, "jailbreak_gptfuzz", *filled)
    rows = [r for r in read_all(tmp_path, 1) if r.source == "jailbreak_gptfuzz"]
    assert len({r.held_out for r in rows}) == 1


def test_a_group_is_never_on_both_sides_and_one_in_ten_is_held_out() -> None:
    sides: dict[tuple[str, str], set[bool]] = defaultdict(set)
    for row in ROWS:
        sides[row.source, row.group].add(row.held_out)
    assert all(len(found) == 1 for found in sides.values())
    share = sum(True in found for found in sides.values()) / len(sides)
    assert 0.07 < share < 0.13


def test_there_are_enough_texts_of_our_own_in_enough_languages() -> None:
    languages = Counter(r.lang for r in ROWS)
    assert len(ROWS) >= 15_000
    assert sum(count >= 100 for count in languages.values()) >= 10
    hazards = Counter(name for r in ROWS for name in HAZARDS if r.labels.get(name) == 1)
    assert min(hazards[name] for name in HAZARDS) >= 90


@pytest.mark.parametrize("path", sorted(SYNTHETIC.glob("*.jsonl")), ids=lambda p: p.stem)
def test_every_synthetic_file_is_well_formed(path: Path) -> None:
    for line in path.read_text(encoding="utf8").strip().split("\n"):
        group = json.loads(line)
        keys = RESPONSE_KEYS if group["role"] == "response" else PROMPT_KEYS
        assert set(group) <= {"topic", "cat", "lang", "role", "prompt", *keys}
        assert group["cat"] is None or group["cat"] in HAZARDS
        assert re.fullmatch(r"[a-z]{2,3}", group["lang"])
        assert ("prompt" in group) == (group["role"] == "response")
        assert any(group.get(key) for key in keys)
        assert all(isinstance(text, str) and text.strip() for key in keys for text in group.get(key, ()))


def test_labels_have_names_that_the_model_knows() -> None:
    assert {name for row in ROWS for name in row.labels} <= set(LABELS)


def test_harmless_rows_are_harmless_in_every_hazard_and_harmful_ones_in_the_others() -> None:
    def first(key: str, role: str) -> Row:
        wanted = RESPONSE_KEYS[key] if role == "response" else PROMPT_KEYS[key]
        return next(r for r in ROWS if r.role == role and wanted.items() <= r.labels.items())

    assert all(first("safe", "prompt").labels[name] == 0 for name in HAZARDS)
    harmful = next(r for r in ROWS if r.labels.get("weapons") == 1 and r.labels.get("injection") == 0)
    assert sum(harmful.labels[name] for name in HAZARDS) == 1
