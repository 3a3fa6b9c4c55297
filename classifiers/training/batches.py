"""Rows to batches: tokens, labels, masks, weights; rows of like length together, so that little is padding."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from classifiers.classifier import Sample
from classifiers.labels import LABELS
from classifiers.tokens import WINDOW, Layout, Window
from classifiers.training.augment import varied
from classifiers.training.rows import Row

INDEX = {label: i for i, label in enumerate(LABELS)}
TOKENS = 6144
"""Padded tokens of a batch, at most."""
LOCAL = frozenset({"harm", "injection", "toxicity"})
CUT = 0.3
"""Weight of a finding of those where the window may not show what it rests on."""
ROWS = 96
"""Rows of a batch, at most."""


class Batch(NamedTuple):
    ids: Tensor
    mask: Tensor
    segments: Tensor
    judged: Tensor
    labels: Tensor
    known: Tensor
    """1 where a row has a label, times the row's weight; 0 elsewhere."""


class Example(NamedTuple):
    window: Window
    row: Row
    cut: bool
    """The window does not show all of the text."""


def augmented(rows: Sequence[Row], chance: random.Random) -> list[str]:
    """The texts of one epoch: prompts vary, responses stay as they are."""
    others = [r.text for r in rows if r.labels.get("harm") == 0 and r.role == "prompt" and len(r.text) > 40]
    return [varied(r.text, others, chance) if r.role == "prompt" else r.text for r in rows]


def examples(rows: Sequence[Row], texts: Sequence[str], layout: Layout, chance: random.Random) -> list[Example]:
    """One window of each row: the whole text, or of a longer one mostly the beginning, else any part."""
    tokens = layout.encode([t[:6000] for t in texts])
    contexts = layout.encode([r.prompt[:600] for r in rows])
    out: list[Example] = []
    for row, ids, context in zip(rows, tokens, contexts, strict=True):
        start = 0
        if len(ids) > WINDOW and chance.random() < 0.35:
            start = chance.randint(0, len(ids) - WINDOW)
        shown = context if chance.random() < 0.75 else []  # a response must be judged without its prompt too
        window = layout.window(Sample("", row.role), ids[start : start + WINDOW], shown)
        out.append(Example(window, row, len(ids) > WINDOW))
    return out


def batches(found: Sequence[Example], chance: random.Random | None) -> Iterator[Batch]:
    """Batches in random order, or as they come where `chance` is None."""
    jitter = (lambda: chance.random() * 8) if chance else (lambda: 0.0)
    order = sorted(range(len(found)), key=lambda i: len(found[i].window.ids) + jitter())
    groups: list[list[int]] = [[]]
    for i in order:
        widest = len(found[i].window.ids)
        if groups[-1] and (len(groups[-1]) >= ROWS or (len(groups[-1]) + 1) * widest > TOKENS):
            groups.append([])
        groups[-1].append(i)
    if chance:
        chance.shuffle(groups)
    for group in groups:
        yield collate([found[i] for i in group])


def collate(found: Sequence[Example]) -> Batch:
    width = max(len(e.window.ids) for e in found)
    shape = (len(found), width)
    ids, mask, segments, judged = (torch.zeros(shape, dtype=torch.long) for _ in range(4))
    labels, known = torch.zeros((len(found), len(LABELS))), torch.zeros((len(found), len(LABELS)))
    for i, (window, row, cut) in enumerate(found):
        size = len(window.ids)
        ids[i, :size] = torch.tensor(window.ids)
        mask[i, :size] = 1
        segments[i, :size] = torch.tensor(window.segments)
        judged[i, :size] = torch.tensor(window.judged)
        for name, value in row.labels.items():
            labels[i, INDEX[name]] = value
            known[i, INDEX[name]] = row.weight * (CUT if cut and value and name in LOCAL else 1.0)
    return Batch(ids, mask, segments, judged, labels, known)
