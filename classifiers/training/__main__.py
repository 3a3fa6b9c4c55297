"""`python -m classifiers.training --data DIR --out DIR`: from rows to a model folder that `classifiers.model` loads.

Interrupted, the same command goes on after the last whole epoch. The folder is put in place at the end, whole.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from tokenizers import Tokenizer

from classifiers.classifier import Sample
from classifiers.labels import LABELS, MAIN
from classifiers.model import Model
from classifiers.tokens import Layout
from classifiers.training.calibration import calibrate, penalty, probabilities, thresholds
from classifiers.training.card import write_card
from classifiers.training.evaluate import blocked_share, by_label, by_part, parts_of
from classifiers.training.export import add_tokenizer, sha256, to_int8, to_onnx
from classifiers.training.fit import Mode, Recipe, logits_of, train
from classifiers.training.metrics import Floats, auroc
from classifiers.training.network import base_folder, fresh
from classifiers.training.plot import reliability
from classifiers.training.rows import Row, read_all

NAME, VERSION = "wardgate-guard", "1"
LONG_DOCUMENTS = 200


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m classifiers.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the licensed rows (*.jsonl)")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--work", type=Path, default=Path(".training"), help="checkpoints (.training)")
    parser.add_argument("--mode", choices=("full", "partial", "frozen"), default="full")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=Recipe().rate, help="learning rate of the upper layer")
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--leave-out", default="", help="a source whose rows are not trained on, and are all evaluated")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def split(rows: Sequence[Row], left_out: str) -> tuple[list[Row], list[Row]]:
    """To train on, and held out: by group, never by row."""
    held = [r for r in rows if (r.source == left_out if left_out else r.held_out)]
    return [r for r in rows if not (r.held_out or r.source == left_out)], held


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    rows = read_all(options.data, options.seed)
    learn, held = split(rows, options.leave_out)
    say(f"{len(learn)} rows to learn from, {len(held)} held out")
    layout = Layout.of(Tokenizer.from_file(str(base_folder() / "tokenizer.json")))
    mode: Mode = options.mode
    recipe = Recipe(mode=mode, epochs=options.epochs, rate=options.rate, seed=options.seed)
    name = f"{mode}-{recipe.epochs}-{recipe.rate}-{recipe.seed}-{options.leave_out or 'all'}"
    checkpoint = options.work / f"{name}.pt"
    network = train(fresh(), learn, layout, recipe, checkpoint=checkpoint, quiet=options.quiet)
    took = torch.load(checkpoint, weights_only=True)["seconds"] if recipe.epochs else 0.0
    if options.leave_out:
        report_left_out(held, logits_of(network, held, layout).numpy().astype(np.float64), options.leave_out)
        return
    unfinished = options.work / f"{name}.model"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    to_onnx(network, unfinished / "fp32.onnx")
    to_int8(unfinished / "fp32.onnx", unfinished / "model.onnx")
    add_tokenizer(unfinished)
    figures = finish(Trained(unfinished, held, learn, layout, recipe, took))
    write_card(unfinished, figures)
    (unfinished / "fp32.onnx").replace(options.work / "fp32.onnx")  # for tests/bench/classifier.py
    shutil.rmtree(options.out, ignore_errors=True)
    unfinished.replace(options.out)
    say(f"{options.out}: {json.dumps(figures['held_out'], indent=1)}")


def report_left_out(held: Sequence[Row], logits: Floats, source: str) -> None:
    chances = 1 / (1 + np.exp(-logits))
    table = {k: v._asdict() for k, v in by_label(held, chances, MAIN).items() if v.positives or v.negatives}
    print(json.dumps({source: table}))


def run(model: Model, rows: Sequence[Row], layout: Layout) -> Floats:
    """Logits of each row's first window by the files that ship."""
    texts = layout.encode([r.text[:6000] for r in rows])
    contexts = layout.encode([r.prompt[:600] for r in rows])
    windows = [layout.window(Sample("", r.role), t[:256], c) for r, t, c in zip(rows, texts, contexts, strict=True)]
    order = sorted(range(len(windows)), key=lambda i: len(windows[i].ids))
    out = np.zeros((len(rows), len(LABELS)))
    for at in range(0, len(order), 32):
        part = order[at : at + 32]
        out[part] = model.logits([windows[i] for i in part])
    return out


@dataclass(frozen=True, slots=True)
class Trained:
    """A network that was trained and exported, and what it was trained on."""

    folder: Path
    held: Sequence[Row]
    learn: Sequence[Row]
    layout: Layout
    recipe: Recipe
    took: float
    """Seconds."""


def finish(trained: Trained) -> dict[str, Any]:
    """Calibration, thresholds and figures, all of the int8 network, as `model.json` and for the card."""
    folder, held, layout = trained.folder, trained.held, trained.layout
    facts: dict[str, Any] = {
        "name": NAME,
        "version": VERSION,
        "labels": list(LABELS),
        "files": {name: sha256(folder / name) for name in ("model.onnx", "tokenizer.json")},
        "calibration": {label: [1.0, 0.0] for label in LABELS},
        "thresholds": dict.fromkeys(LABELS, 0.5),
        "penalty": 0.0,
    }
    put(folder, facts)
    model = Model.load(folder, threads=2)
    logits = run(model, held, layout)
    calibration = calibrate(held, logits)
    chances = probabilities(logits, calibration)
    limits = thresholds(held, chances)
    facts["calibration"] = {k: [round(v[0], 5), round(v[1], 5)] for k, v in calibration.items()}
    facts["thresholds"] = limits
    facts["penalty"] = penalty(long_documents(model, held, layout), calibration, limits)
    facts["version"] = f"{VERSION}+{facts['files']['model.onnx'][:8]}"
    put(folder, facts)
    return figures_of(trained, facts, chances, compare_fp32(folder, held, layout, logits))


def put(folder: Path, facts: dict[str, Any]) -> None:
    (folder / "model.json").write_text(json.dumps(facts, indent=1) + "\n")


def long_documents(model: Model, held: Sequence[Row], layout: Layout) -> list[Floats]:
    """Harmless held-out texts joined to documents of 2,000 to 12,000 characters: the logits of their windows."""
    chance = random.Random(11)
    texts = [r.text for r in held if r.role == "prompt" and r.labels.get("harm") == 0 and not any(r.labels.values())]
    out: list[Floats] = []
    for _ in range(LONG_DOCUMENTS if texts else 0):
        size = chance.randint(2000, 12000)
        parts: list[str] = []
        while sum(len(p) for p in parts) < size:
            parts.append(chance.choice(texts))
        ids = layout.encode(["\n\n".join(parts)])[0]
        windows = list(layout.windows(Sample(""), ids, []))
        rows = [model.logits(windows[i : i + 16]) for i in range(0, len(windows), 16)]
        out.append(np.concatenate(rows).astype(np.float64))
    return out


def compare_fp32(folder: Path, held: Sequence[Row], layout: Layout, int8: Floats) -> dict[str, float]:
    """AUROC lost by int8, category by category."""
    session = onnxruntime.InferenceSession(str(folder / "fp32.onnx"), providers=["CPUExecutionProvider"])
    shipped = Model.load(folder, threads=2)
    whole = run(Model(shipped.facts, shipped.layout, session), held, layout)
    out: dict[str, float] = {}
    for label in MAIN:
        known = [i for i, r in enumerate(held) if label in r.labels]
        truth = np.array([held[i].labels[label] for i in known], dtype=np.float64)
        column = LABELS.index(label)
        out[label] = round(auroc(whole[known, column], truth) - auroc(int8[known, column], truth), 5)
    return out


def figures_of(trained: Trained, facts: dict[str, Any], chances: Floats, lost: dict[str, float]) -> dict[str, Any]:
    """Everything that the card says."""
    folder, held, learn, recipe = trained.folder, trained.held, trained.learn, trained.recipe
    prompts = [i for i, r in enumerate(held) if r.role == "prompt"]
    own, own_chances = [held[i] for i in prompts], chances[prompts]
    main = {label: facts["thresholds"][label] for label in ("harm", "jailbreak", "injection", "toxicity")}
    blocked = {
        name: [len(part), round(blocked_share([own[i] for i in part], own_chances[part], main), 4)]
        for name, part in parts_of(own, "source").items()
    }
    figures: dict[str, Any] = {
        "rows": {"train": len(learn), "held_out": len(held)},
        "recipe": {"mode": recipe.mode, "epochs": recipe.epochs, "rate": recipe.rate, "seed": recipe.seed},
        "minutes": round(trained.took / 60, 1),
        "held_out": {k: rounded(v) for k, v in by_label(held, chances).items()},
        "by_source": {
            label: {k: rounded(v) for k, v in by_part(held, chances, label, parts_of(held, "source")).items()}
            for label in MAIN
        },
        "by_language": {
            label: {k: rounded(v) for k, v in by_part(held, chances, label, parts_of(held, "lang")).items()}
            for label in ("harm",)
        },
        "by_role": {"harm": {k: rounded(v) for k, v in by_part(held, chances, "harm", parts_of(held, "role")).items()}},
        "benign_blocked": {"all": round(blocked_share(own, own_chances, main), 4), "by_source": blocked},
        "int8_auroc_lost": lost,
        "thresholds": facts["thresholds"],
        "penalty": facts["penalty"],
        "bytes": (folder / "model.onnx").stat().st_size,
    }
    (folder / "metrics.json").write_text(json.dumps(figures, indent=1) + "\n")
    reliability(folder / "reliability.png", held, chances)
    return figures


def rounded(found: Any) -> dict[str, float]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in found._asdict().items()}


if __name__ == "__main__":
    main()
