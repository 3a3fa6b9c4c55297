"""The load of streams, as a process of its own: `python -m tests.bench.streams JOB`, where JOB is JSON; JSON on stdout.

Chunks carry the upstream's send time on the same CLOCK_MONOTONIC (see upstream.c), so the delay of a chunk needs no
second clock, whatever the gateway does to the events between.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field
from time import monotonic_ns

import uvloop

from tests.bench.answer import read_answer
from tests.bench.connection import Connection, Piece, connect, render

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Job:
    url: str
    path: str
    headers: dict[str, str]
    body: dict[str, object]
    concurrency: int
    each: int
    """Streams that a connection reads, one after another."""
    spread: float
    """Seconds over which the connections begin."""


@dataclass(slots=True)
class Tally:
    """What all streams of a job showed, in microseconds."""

    first: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    chars: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, began: int, pieces: list[Piece], ended: int) -> None:
        answer = read_answer(pieces)
        if answer.status != 200 or not answer.text or (answer.finish or "").startswith("error"):
            self.errors.append(f"{answer.status} {answer.finish} {answer.body[:200]!r}")
            return
        self.first.append((answer.marks[0][1] - began) / 1e3)
        self.total.append((ended - began) / 1e3)
        self.delays += answer.delays()
        self.chars.append(len(answer.text))


@dataclass(frozen=True, slots=True)
class Figures:
    n: int
    failed: int
    ttft_p50_us: float
    ttft_p99_us: float
    total_p50_us: float
    chunk_p50_us: float
    chunk_p99_us: float
    chars: float
    errors: list[str]


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else NAN


async def load(job: Job) -> Figures:
    request = render(job.url, job.path, job.headers, job.body)
    answers: list[tuple[int, list[Piece], int]] = []

    async def reader(number: int) -> None:
        await asyncio.sleep(job.spread * number / job.concurrency)
        connection: Connection | None = None
        for _ in range(job.each):
            if connection is None or connection.transport is None or connection.transport.is_closing():
                connection = await connect(job.url)
            began = monotonic_ns()
            answers.append((began, await connection.read(request), monotonic_ns()))
        if connection is not None and connection.transport is not None:
            connection.transport.close()

    await asyncio.gather(*(reader(i) for i in range(job.concurrency)))
    tally = Tally()
    for began, pieces, ended in answers:  # taken apart only now, so that it disturbs no stream
        tally.add(began, pieces, ended)
    return figures(len(answers), tally)


def figures(count: int, tally: Tally) -> Figures:
    return Figures(
        count,
        len(tally.errors),
        quantile(tally.first, 0.5),
        quantile(tally.first, 0.99),
        quantile(tally.total, 0.5),
        quantile(tally.delays, 0.5),
        quantile(tally.delays, 0.99),
        quantile(tally.chars, 0.5),
        tally.errors[:3],
    )


if __name__ == "__main__":
    json.dump(asdict(uvloop.run(load(Job(**json.loads(sys.argv[1]))))), sys.stdout)
