"""Training: masked binary cross-entropy over all categories, AdamW, warm-up and linear decay. Seeded and resumable."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from classifiers.labels import HAZARDS, LABELS
from classifiers.tokens import Layout
from classifiers.training.batches import Batch, augmented, batches, examples
from classifiers.training.network import Guard
from classifiers.training.rows import Row

Mode = Literal["full", "partial", "frozen"]
HAZARD_WEIGHT = 0.15
"""Of each hazard in the loss: fourteen of them must not outweigh the five categories that everybody uses."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train."""

    mode: Mode = "full"
    """`full`: all but the word vectors; `partial`: the upper three layers and the heads; `frozen`: the heads alone."""
    epochs: int = 3
    rate: float = 1.5e-4
    head_rate: float = 1e-3
    decay: float = 0.01
    layer_decay: float = 0.85
    """Each layer learns this much slower than the one above it."""
    warmup: float = 0.06
    smoothing: float = 0.02
    """Labels are a little wrong: none is believed wholly."""
    seed: int = 7


def loss_of(logits: Tensor, batch: Batch, weights: Tensor, smoothing: float) -> Tensor:
    target = batch.labels * (1 - 2 * smoothing) + smoothing
    each = nn.functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    known = batch.known * weights
    return (each * known).sum() / known.sum().clamp(min=1.0)


def label_weights(rows: Sequence[Row]) -> Tensor:
    """Hazards count less."""
    return torch.tensor([HAZARD_WEIGHT if name in HAZARDS else 1.0 for name in LABELS])


def groups_of(model: Guard, recipe: Recipe) -> list[dict[str, object]]:
    """Parameters with their learning rates."""
    heads = [*model.hidden.parameters(), *model.out.parameters()]
    found: list[dict[str, object]] = [{"params": heads, "lr": recipe.head_rate}]
    layers = list(model.encoder.encoder.layer)
    for depth, layer in enumerate(reversed(layers)):
        learns = recipe.mode == "full" or (recipe.mode == "partial" and depth < 3)
        for parameter in layer.parameters():
            parameter.requires_grad_(learns)
        if learns:
            found.append({"params": list(layer.parameters()), "lr": recipe.rate * recipe.layer_decay**depth})
    # Words that no row holds must keep their place among those that do; it is half of the step's work besides.
    model.encoder.embeddings.requires_grad_(False)
    return found


def train(
    model: Guard,
    rows: Sequence[Row],
    layout: Layout,
    recipe: Recipe,
    *,
    checkpoint: Path | None = None,
    quiet: bool = False,
) -> Guard:
    """Train in place. `checkpoint` is written after every epoch, and taken up again where it exists."""
    torch.manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(groups_of(model, recipe), weight_decay=recipe.decay, fused=True)
    rates = [g["lr"] for g in optimizer.param_groups]
    weights, first, spent, began = label_weights(rows), 0, 0.0, time.monotonic()
    if checkpoint and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first, spent = saved["epoch"] + 1, saved["seconds"]
    model.train()
    for epoch in range(first, recipe.epochs):
        chance = random.Random(recipe.seed * 1000 + epoch)
        found = examples(rows, augmented(rows, chance), layout, chance)
        steps = sum(1 for _ in batches(found, random.Random(epoch)))
        for step, batch in enumerate(shown(batches(found, random.Random(epoch)), steps, f"epoch {epoch + 1}", quiet)):
            done = (epoch + step / steps) / recipe.epochs
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(done, recipe.warmup)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(batch.ids, batch.mask, batch.segments, batch.judged)
            loss = loss_of(logits, batch, weights, recipe.smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        if checkpoint:
            write_checkpoint(checkpoint, model, optimizer, epoch, spent + time.monotonic() - began)
    return model.eval()


def schedule(done: float, warmup: float) -> float:
    """Share of the full rate when `done` (0..1) of the training is over."""
    return done / warmup if done < warmup else max(0.02, 1 - (done - warmup) / (1 - warmup))


def write_checkpoint(path: Path, model: Guard, optimizer: torch.optim.Optimizer, epoch: int, seconds: float) -> None:
    """Whole or not at all. `seconds`: the training so far, interruptions not counted."""
    unfinished = path.with_suffix(".tmp")
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch, "seconds": seconds},
        unfinished,
    )
    unfinished.replace(path)


def shown(found: Iterator[Batch], total: int, title: str, quiet: bool) -> Iterator[Batch]:
    """With a progress bar on stderr."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=quiet) as progress:
        task = progress.add_task(title, total=total)
        for batch in found:
            yield batch
            progress.advance(task)


@torch.inference_mode()
def logits_of(model: Guard, rows: Sequence[Row], layout: Layout) -> Tensor:
    """The logits of each row's first window, in order."""
    model.eval()
    found = examples(rows, [r.text for r in rows], layout, _Never())
    order = sorted(range(len(found)), key=lambda i: len(found[i].window.ids))
    out = torch.zeros((len(rows), len(LABELS)))
    at = 0
    for batch in batches([found[i] for i in order], None):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(batch.ids, batch.mask, batch.segments, batch.judged)
        out[order[at : at + len(logits)]] = logits.float()
        at += len(logits)
    return out


class _Never(random.Random):
    """The chance that never strikes and shows every context: the deterministic reading of a row."""

    def random(self) -> float:
        return 0.5
