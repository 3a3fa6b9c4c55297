"""What reaches the client of a forbidden text that the model writes in mid-stream, split over chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from time import monotonic_ns
from typing import NamedTuple

from tests.bench.answer import Answer, read_answer
from tests.bench.connection import connect, render
from tests.bench.target import Target

HEAD = ("target", "case", "safe chars before", "marker chars out", "chars after", "end of the stream", "first text ms")
SHORT = "FORBIDDENWORD"
SECONDS = 60


class Case(NamedTuple):
    name: str
    shape: str
    marker: str


def long_marker(length: int) -> str:
    """As upstream.c writes it, less the blank before it."""
    return "SKLONG" + "x" * (length - 10) + "END"


CASES = (
    Case("nothing forbidden", "n=200 d=5000", ""),
    Case("word in 3 chunks", "n=200 d=5000 m=100 w=3", SHORT),
    Case("word in 14 chunks", "n=200 d=5000 m=100 w=14", SHORT),
    Case("word as last token", "n=200 d=5000 m=199 w=1", SHORT),
    Case("119 characters in 30 chunks", "n=200 d=5000 m=100 w=30 l=120", long_marker(120)),
    Case("399 characters in 80 chunks", "n=300 d=5000 m=100 w=80 l=400", long_marker(400)),
)


def leaks(targets: Sequence[Target]) -> Iterator[Sequence[str]]:
    """Rows of the table, for targets that run."""
    for target in targets:
        for _ in range(3):
            asyncio.run(ask(target, "n=5 d=0"))
        for case in CASES:
            answer, first = asyncio.run(ask(target, case.shape))
            before, out, after = reached(answer.text, case.marker)
            marker = f"{out} of {len(case.marker)}"
            yield target.name, case.name, str(before), marker, str(after), ending(answer), f"{first:.1f}"


async def ask(target: Target, shape: str) -> tuple[Answer, float]:
    """The answer, and the milliseconds to its first text."""
    connection = await connect(target.url)
    request = render(target.url, target.path, target.headers, target.request(shape, stream=True))
    began = monotonic_ns()
    try:
        async with asyncio.timeout(SECONDS):
            await connection.read(request)
    except TimeoutError:
        pass  # what came by now is what there is to see
    finally:
        if connection.transport is not None:
            connection.transport.close()
    answer = read_answer(connection.pieces)
    return answer, (answer.marks[0][1] - began) / 1e6 if answer.marks else float("nan")


def ending(answer: Answer) -> str:
    if answer.status != 200:
        return f"HTTP {answer.status}"
    finish = answer.finish or "no finish_reason"
    if not answer.whole:
        return f"connection cut, {finish}"
    return f"{finish}, {'[DONE]' if b'[DONE]' in answer.body else 'no [DONE]'}"


def reached(text: str, marker: str) -> tuple[int, int, int]:
    """Characters before, of and after the marker in what the client got."""
    if not marker:
        return len(text), 0, 0
    start = text.find(marker[:6])
    if start < 0:  # perhaps only its first letters came, at the very end
        cut = next((k for k in range(5, 1, -1) if text.endswith(marker[:k])), 0)
        return len(text) - cut, cut, 0
    out = next((k for k, c in enumerate(marker) if text[start + k : start + k + 1] != c), len(marker))
    return start, out, len(text) - start - out
