"""CPU per character of answers of growing length: flat, if no work grows with what came before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from tests.bench.load import Load, Loader, LoadError
from tests.bench.processes import cpu
from tests.bench.target import Target

HEAD = ("answer", "whole: CPU ms", "whole: ns/char", "streamed: CPU ms", "streamed: ns/char")
CHARS_PER_WORD = 4.4
WORDS_A_CHUNK = 8
SIZES = (1_000, 10_000, 100_000, 1_000_000)
ENOUGH = 300_000
"""Characters asked for in all at each size, so that short answers are measured over many."""


def lengths(target: Target, loader: Loader, sizes: Sequence[int] = SIZES) -> Iterator[Sequence[str]]:
    """Rows of the table, for a target that runs and is warm."""
    for size in sizes:
        words = round(size / CHARS_PER_WORD)
        shape = f"n={round(words / WORDS_A_CHUNK)} k={WORDS_A_CHUNK}"
        each = max(1, ENOUGH // size)
        whole = _cpu_ms(target, partial(loader.whole, connections=1, seconds=1, shape=f"n={words}"))
        streamed = _cpu_ms(target, partial(loader.streams, shape=shape, concurrency=1, each=each))
        costs = [cell for ms in (whole, streamed) for cell in (f"{ms:.2f}", f"{ms * 1e6 / size:.0f}")]
        yield f"{size:,} characters", *costs


def _cpu_ms(target: Target, load: Load) -> float:
    """Of one answer."""
    before = cpu(target.pids)
    figures = load(target)
    if figures["failed"]:
        raise LoadError(f"{target.name}: {figures['failed']:.0f} answers failed")
    return cpu(target.pids).since(before) * 1e3 / max(1.0, figures["n"])
