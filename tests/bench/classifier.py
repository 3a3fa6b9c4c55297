"""What the shipped classifier costs: `python tests/bench/classifier.py [--fp32 .training/fp32.onnx]`.

CPU milliseconds a text, by length and batch: the network alone (int8; with `--fp32` also fp32 under onnxruntime),
and through `Embedded`; then the latency that 50 concurrent requests see. Runs visit all in turn, medians are shown.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import onnxruntime

from classifiers.classifier import Sample
from classifiers.embedded import Embedded, Limits
from classifiers.model import Model
from classifiers.tokens import Window
from tests.bench.tables import table

LENGTHS = (16, 64, 128, 256)
BATCHES = (1, 16)
ROUNDS = 7
CONCURRENT = 50
WORDS = (
    *("lamp", "tree", "road", "bird", "rain", "fish", "door", "moon"),
    *("salt", "wind", "gold", "hand", "lake", "book", "ship", "star"),
)
"""Of one token each; the first one tells the texts of a batch apart."""
Run = Callable[[Sequence[Sample], Sequence[Window]], Awaitable[object]]


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def samples(tokens: int, count: int) -> list[Sample]:
    """Texts of so many tokens, none like another."""
    names = [f"{WORDS[i % len(WORDS)]} {WORDS[i // len(WORDS) % len(WORDS)]}" for i in range(count)]
    return [Sample(name + " lamp" * (tokens - 2)) for name in names]


def bare(model: Model) -> Run:
    async def run(_: Sequence[Sample], windows: Sequence[Window]) -> object:
        return model.logits(windows)

    return run


def wrapped(embedded: Embedded) -> Run:
    async def run(texts: Sequence[Sample], _: Sequence[Window]) -> object:
        return await embedded.classify(texts)

    return run


async def cost(run: Run, model: Model, tokens: int, batch: int) -> float:
    """CPU milliseconds a text, of one window of about half a second."""
    spent, done = 0.0, 0
    texts = samples(tokens, batch)
    ids = model.layout.encode([t.text for t in texts])
    windows = [model.layout.window(t, i, []) for t, i in zip(texts, ids, strict=True)]
    while spent < 0.4:
        began = cpu()
        await run(texts, windows)
        spent += cpu() - began
        done += batch
    return spent / done * 1e3


async def costs(runs: dict[str, Run], model: Model) -> list[list[str]]:
    rows = []
    for tokens in LENGTHS:
        for batch in BATCHES:
            found: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(ROUNDS):
                for name, run in runs.items():
                    found[name].append(await cost(run, model, tokens, batch))
            middle = {name: statistics.median(values) for name, values in found.items()}
            rows.append([str(tokens), str(batch), *(f"{middle[name]:.2f}" for name in runs)])
    return rows


async def crowd(embedded: Embedded) -> list[str]:
    """The latency that each of many requests at once sees, in ms: median, 99 of 100; and texts a second."""

    async def one(sample: Sample) -> float:
        began = time.perf_counter()
        await embedded.classify([sample])
        return (time.perf_counter() - began) * 1e3

    waits: list[float] = []
    began = time.perf_counter()
    for _ in range(8):
        waits += await asyncio.gather(*map(one, samples(64, CONCURRENT)))
    took = time.perf_counter() - began
    ordered = sorted(waits)
    return [f"{ordered[len(ordered) // 2]:.0f}", f"{ordered[int(len(ordered) * 0.99)]:.0f}", f"{len(waits) / took:.0f}"]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fp32", type=Path, help="the same network in fp32, as the training leaves it")
    parser.add_argument("--checkpoint", type=Path, help="the same network for torch, as the training leaves it")
    options = parser.parse_args()
    model = Model.load()
    embedded = Embedded(model, Limits(remembered=0))
    await embedded.start()
    runs = {"int8": bare(model), "int8 through Embedded": wrapped(embedded)}
    if options.fp32:
        limits = onnxruntime.SessionOptions()
        limits.intra_op_num_threads = 1
        whole = onnxruntime.InferenceSession(str(options.fp32), limits, providers=["CPUExecutionProvider"])
        runs["fp32"] = bare(Model(model.facts, model.layout, whole))
    if options.checkpoint:
        from tests.bench.classifier_torch import torch_run  # noqa: PLC0415 - torch is there with the extra `train` only

        runs["torch fp32"] = torch_run(options.checkpoint)
    head = ["tokens", "batch", *runs]
    for line in table("CPU ms a text", head, await costs(runs, model)):
        print(line)
    for line in table("50 requests at once, 64 tokens each", ["p50 ms", "p99 ms", "texts/s"], [await crowd(embedded)]):
        print(line)
    print(f"\nresident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    await embedded.close()


if __name__ == "__main__":
    asyncio.run(main())
