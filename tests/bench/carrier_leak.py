"""What of a forbidden text reaches the client, wherever in its answer the model writes it."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from statistics import mean, median
from time import monotonic_ns
from typing import NamedTuple

from tests.bench.answer import read_answer
from tests.bench.carriers.cases import CASES, PATHS, Case
from tests.bench.carriers.plan import MARKERS, OPENING, OTHER, TOOL
from tests.bench.carriers.texts import Path, longest, texts
from tests.bench.connection import Piece, connect, render
from tests.bench.processes import cpu
from tests.bench.tables import number
from tests.bench.target import Target

SECONDS = 30
GAP_US = 1000
CLEAN_STREAMS = 3
NAN = float("nan")
NOT_SERVED = "not served"


class Seen(NamedTuple):
    status: int
    texts: dict[Path, str]
    cpu_ms: float
    began: int
    pieces: list[Piece]

    def of(self, case: Case) -> Iterator[str]:
        """Its texts; logprobs are looked at by themselves, since the text beside them holds the same."""
        for path, text in self.texts.items():
            if case.carrier != "logprobs" or "logprobs" in path or "top_logprobs" in path:
                yield text

    def has(self, case: Case) -> bool:
        """The carrier itself came, with its first word."""
        sign = TOOL if case.carrier == "tool_name" else OPENING
        return self.status == 200 and any(sign in text for text in self.of(case))

    def first_ms(self, case: Case) -> float:
        """Until then; however the gateway cut it."""
        came = bisect_left(range(len(self.pieces)), 1, key=lambda k: self._until(k + 1).has(case))
        return (self.pieces[min(came, len(self.pieces) - 1)][0] - self.began) / 1e6

    def _until(self, count: int) -> Seen:
        return self._replace(texts=texts(read_answer(self.pieces[:count]).body))


class Row(NamedTuple):
    """One carrier, one target."""

    leaks: str
    """Characters of each marker, or why there is no figure."""
    first_ms: float
    cpu_ms: float


def measure(target: Target, case: Case, *, stream: bool) -> Row:
    clean = [ask(target, case, "none", stream=stream) for _ in range(CLEAN_STREAMS if stream else 1)]
    if not clean[0].has(case):
        status = clean[0].status
        return Row(NOT_SERVED if status < 500 else f"HTTP {status}", NAN, NAN)
    out = [reached(ask(target, case, name, stream=stream), case, text) for name, text in MARKERS.items() if text]
    return Row(" · ".join(out), median(s.first_ms(case) for s in clean), mean(s.cpu_ms for s in clean))


def reached(seen: Seen, case: Case, marker: str) -> str:
    """Characters of the marker; the status too where an error tells them, or nothing else held them back."""
    out = max((longest(text.replace(OTHER, ""), marker) for text in seen.of(case)), default=0)
    return f"{out} (HTTP {seen.status})" if seen.status != 200 and (out or seen.status >= 500) else str(out)


def ask(target: Target, case: Case, marker: str, *, stream: bool) -> Seen:
    own = target.carriers.get(case.surface, {})
    body = {**target.body, **case.request("carriers", marker, GAP_US, stream=stream), **own.get("body", {})}
    headers = {**target.headers, **{k: str(v) for k, v in own.get("headers", {}).items()}}
    request = render(target.url, PATHS[case.surface], headers, body)
    before, began = cpu(target.pids), monotonic_ns()
    pieces = asyncio.run(_pieces(target.url, request))
    spent = cpu(target.pids).since(before)
    answer = read_answer(pieces)
    return Seen(answer.status, texts(answer.body), spent * 1e3, began, pieces)


async def _pieces(url: str, request: bytes) -> list[Piece]:
    connection = await connect(url)
    try:
        async with asyncio.timeout(SECONDS):
            await connection.read(request)
    except TimeoutError:
        pass  # what came by now is what there is to see
    finally:
        if connection.transport is not None:
            connection.transport.close()
    return connection.pieces


Results = dict[tuple[Case, bool], dict[str, Row]]


def run(targets: Sequence[Target]) -> Results:
    found: Results = {}
    for target in targets:
        for case in CASES:
            for stream in (True, False):
                found.setdefault((case, stream), {})[target.name] = measure(target, case, stream=stream)
    return found


def head(targets: Sequence[Target]) -> list[str]:
    return ["surface", "carrier", *(t.name for t in targets)]


def leaked(results: Results, targets: Sequence[Target], *, stream: bool) -> Iterator[list[str]]:
    for (case, streamed), rows in results.items():
        if streamed is stream:
            yield [case.surface, case.name, *(rows[t.name].leaks for t in targets)]


def costs(results: Results, targets: Sequence[Target], figure: str) -> Iterator[list[str]]:
    """`first_ms` or `cpu_ms` of streams in which nothing is forbidden."""
    for (case, streamed), rows in results.items():
        if streamed:
            values = (number(getattr(rows[t.name], figure), 1) for t in targets)
            yield [case.surface, case.name, *values]
