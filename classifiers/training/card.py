"""The model card: what the model is for, what it was made of, how good it is and where it fails. Figures by command."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from classifiers.labels import HAZARDS, MAIN

TEXT = Path(__file__).parent / "card.md"
"""The card's words; each `{{name}}` is a table made here."""


def write_card(folder: Path, figures: Mapping[str, Any]) -> None:
    words = TEXT.read_text(encoding="utf8")
    for name, value in tables(figures).items():
        words = words.replace("{{" + name + "}}", value)
    (folder / "README.md").write_text(words, encoding="utf8")


def tables(figures: Mapping[str, Any]) -> dict[str, str]:
    held, recipe = figures["held_out"], figures["recipe"]
    return {
        "rows": f"{figures['rows']['train']:,} to learn from, {figures['rows']['held_out']:,} held out",
        "recipe": "{mode} fine-tuning, {epochs} epochs, rate {rate}, seed {seed}".format(**recipe),
        "minutes": str(figures["minutes"]),
        "megabytes": f"{figures['bytes'] / 1e6:.1f}",
        "main": quality_table({k: held[k] for k in MAIN}, figures["thresholds"]),
        "hazards": quality_table({k: held[k] for k in HAZARDS}, figures["thresholds"]),
        "sources": "\n\n".join(f"**{k}**\n\n{quality_table(v)}" for k, v in figures["by_source"].items() if v),
        "languages": quality_table(figures["by_language"]["harm"]),
        "roles": quality_table(figures["by_role"]["harm"]),
        "blocked": blocked_table(figures["benign_blocked"]),
        "int8": table(
            ("category", "AUROC lost by int8"), [(k, f"{v:+.4f}") for k, v in figures["int8_auroc_lost"].items()]
        ),
        "penalty": str(figures["penalty"]),
    }


def quality_table(found: Mapping[str, Mapping[str, float]], thresholds: Mapping[str, float] | None = None) -> str:
    head = ["", "positives", "negatives", "AUROC", "recall at 1 % false positives", "ECE"]
    rows = []
    for name, q in found.items():
        row = [name, q["positives"], q["negatives"], number(q["auroc"]), number(q["recall_at_1"]), number(q["ece"])]
        rows.append([*row, number(thresholds[name])] if thresholds else row)
    return table([*head, "default threshold"] if thresholds else head, rows)


def blocked_table(blocked: Mapping[str, Any]) -> str:
    rows: list[Sequence[object]] = [
        (k, n, f"{share:.1%}") for k, (n, share) in blocked["by_source"].items() if not math.isnan(share)
    ]
    return table(("harmless rows of", "rows", "blocked"), [*rows, ("**all**", "", f"**{blocked['all']:.1%}**")])


def number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])
