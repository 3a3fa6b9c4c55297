"""`python -m classifiers.training.ablation --data DIR`: what each source and family of texts is worth.

A whole training for each question would take days. So the pretrained encoder reads every row once, and only heads are
trained, anew for each question, in seconds: with everything, without one source (what the rest teaches of an origin
never seen), without one family of our own texts (what it adds). Full fine-tuning is better throughout; the differences
are what to read. Prints Markdown.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from classifiers.labels import LABELS, MAIN
from classifiers.tokens import Layout
from classifiers.training.batches import INDEX, batches, examples
from classifiers.training.card import table
from classifiers.training.metrics import auroc
from classifiers.training.network import Guard, base_folder, fresh
from classifiers.training.rows import Row, by_source, read_all

STEPS = 300
JUDGED = MAIN


@torch.inference_mode()
def features(network: Guard, rows: Sequence[Row], layout: Layout, say: Callable[[str], None]) -> Tensor:
    """The three poolings of each row's first window."""
    found = examples(rows, [r.text for r in rows], layout, random.Random(3))
    order = sorted(range(len(found)), key=lambda i: len(found[i].window.ids))
    out = torch.zeros((len(rows), network.hidden.in_features))
    at = 0
    for number, batch in enumerate(batches([found[i] for i in order], None)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pooled = network.pooled(batch.ids, batch.mask, batch.segments, batch.judged)
        out[order[at : at + len(pooled)]] = pooled.float()
        at += len(pooled)
        if number % 100 == 0:
            say(f"read {at} of {len(rows)} rows")
    return out


def targets(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Labels, and where they are known, with the rows' weights."""
    labels, known = torch.zeros((len(rows), len(LABELS))), torch.zeros((len(rows), len(LABELS)))
    for i, row in enumerate(rows):
        for name, value in row.labels.items():
            labels[i, INDEX[name]], known[i, INDEX[name]] = value, row.weight
    return labels, known


def heads(inputs: Tensor, labels: Tensor, known: Tensor, seed: int) -> nn.Module:
    """Two layers, trained on all rows at once."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(inputs.shape[1], 128), nn.GELU(), nn.Linear(128, len(LABELS)))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.02)
    chance = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        picked = torch.randint(len(inputs), (4096,), generator=chance)
        each = nn.functional.binary_cross_entropy_with_logits(net(inputs[picked]), labels[picked], reduction="none")
        loss = (each * known[picked]).sum() / known[picked].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


class Bench:
    """All rows, read once; questions are sets of rows to learn from and to judge."""

    def __init__(self, rows: Sequence[Row], inputs: Tensor, seed: int) -> None:
        self.rows = rows
        self.inputs = inputs
        self.seed = seed
        self.labels, self.known = targets(rows)
        self.learn = [i for i, r in enumerate(rows) if not r.held_out]
        self.held = [i for i, r in enumerate(rows) if r.held_out]

    def area(self, learn: Iterable[int], judge: Sequence[int], names: Sequence[str] = JUDGED) -> dict[str, float]:
        """AUROC of each category on the rows to judge, after learning from the others."""
        picked = list(learn)
        net = heads(self.inputs[picked], self.labels[picked], self.known[picked], self.seed)
        with torch.inference_mode():
            logits = net(self.inputs[list(judge)]).numpy().astype(np.float64)
        out = {}
        for name in names:
            own = [k for k, i in enumerate(judge) if name in self.rows[i].labels]
            truth = np.array([self.rows[judge[k]].labels[name] for k in own], dtype=np.float64)
            out[name] = auroc(logits[own, INDEX[name]], truth)
        return out

    def without(self, source: str) -> dict[str, float]:
        """Of a source never seen: its rows among held-out rows of all others, category by category."""
        own = [i for i, r in enumerate(self.rows) if r.source == source]
        others = [i for i in self.held if self.rows[i].source != source]
        learn = [i for i in self.learn if self.rows[i].source != source]
        found = self.area(learn, own + others_of_the_other_class(self.rows, own, others))
        return {name: area for name, area in found.items() if any(name in self.rows[i].labels for i in own)}

    def family(self, source: str) -> tuple[dict[str, float], dict[str, float]]:
        """Held-out rows of all families of ours, with the family and without it."""
        judge = [i for i in self.held if self.rows[i].source.startswith("synthetic")]
        rest = [i for i in self.learn if self.rows[i].source != source]
        return self.area(self.learn, judge), self.area(rest, judge)


def others_of_the_other_class(rows: Sequence[Row], own: Sequence[int], others: Sequence[int]) -> list[int]:
    """A source of one class alone is ranked against the other class from elsewhere."""
    seen = {(name, value) for i in own for name, value in rows[i].labels.items()}
    return [
        i
        for i in others
        if any((name, 1 - value) in seen and (name, value) not in seen for name, value in rows[i].labels.items())
    ]


def report(bench: Bench) -> str:
    sources = by_source(list(bench.rows))
    whole = bench.area(bench.learn, bench.held)
    lines = ["**Heads on the frozen encoder, everything learned, held-out groups**", ""]
    lines += [table(MAIN, [[cell(whole[n]) for n in MAIN]]), "", "**A source never seen** (AUROC)", ""]
    lines.append(table(("source", "rows", *MAIN), [row_of(bench, name, len(own)) for name, own in sources.items()]))
    lines += [
        "",
        "**What a family of our own texts adds** (AUROC on held-out groups of all families: with it, less without it)",
        "",
    ]
    rows = []
    for name, own in sources.items():
        if name.startswith("synthetic"):
            full, less = bench.family(name)
            rows.append([name, len(own), *(f"{full[n] - less[n]:+.3f}" for n in MAIN)])
    return "\n".join([*lines, table(("family", "rows", *MAIN), rows)])


def row_of(bench: Bench, source: str, count: int) -> list[object]:
    found = bench.without(source)
    return [source, count, *(cell(found.get(n, float("nan"))) for n in MAIN)]


def cell(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m classifiers.training.ablation", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = read_all(options.data, options.seed)
    layout = Layout.of(Tokenizer.from_file(str(base_folder() / "tokenizer.json")))
    network = fresh().eval()
    inputs = features(network, rows, layout, lambda text: print(text, file=sys.stderr, flush=True))
    print(report(Bench(rows, inputs, options.seed)))


if __name__ == "__main__":
    main()
