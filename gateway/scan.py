"""`wardgate scan`: the guards over JSON lines, in order, in constant memory."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from classifiers.classifier import Role
from classifiers.embedded import Limits
from gateway.classifying import Classifying
from gateway.scoring import notable
from gateway.wire.judge import Judge
from guards.catalog import NONE, Classifiers, Lanes, build_lanes
from guards.policy import Document, Policy
from guards.scored import Text
from guards.stream import TextFilter
from guards.text.fold import Folder
from guards.verdict import STAGES, Stage, strongest

MAX_LINE = 64 << 20
ROWS = 256
"""Rows that are judged together."""
BLOCK = 1 << 20
"""Bytes of such rows at most, but for a single one that is longer."""


class ScanError(Exception):
    """A mistake in the arguments or the input."""


async def scan_lines(document: Document, name: str | None, stage: str, source: BinaryIO, sink: BinaryIO) -> None:
    """Judge every row. Without `stage` a row's role decides: prompts are input, responses output."""
    policy = _policy(document, name)
    if stage not in ("", *STAGES):
        raise ScanError(f"--stage {stage!r}: use input or output")
    classifying = Classifying(Limits(workers=os.cpu_count() or 1, windows=sys.maxsize, remembered=0))
    try:
        scanner = Scanner.build(policy, stage, await classifying.behind(document))
        await _scan(scanner, source, sink)
    finally:
        await classifying.close()


async def _scan(scanner: Scanner, source: BinaryIO, sink: BinaryIO) -> None:
    console = Console(stderr=True)
    columns = (TextColumn("scan"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("scan", total=_size(source))
        done = number = 0
        while lines := _block(source):
            rows, fault = scanner.parse_all(lines, number + 1)
            for verdict in await asyncio.gather(*map(scanner.judge, rows)):
                sink.write(orjson.dumps(verdict) + b"\n")
            if fault is not None:
                raise fault
            number += len(lines)
            done += sum(map(len, lines))
            progress.update(task, completed=done)
    sink.flush()


def _block(source: BinaryIO) -> list[bytes]:
    """The next lines: few enough to hold, many enough to keep a classifier busy."""
    lines: list[bytes] = []
    size = 0
    while len(lines) < ROWS and size < BLOCK and (line := source.readline(MAX_LINE + 1)):
        lines.append(line)
        size += len(line)
    return lines


class Row(NamedTuple):
    """A line of the input, and the stage at which it is judged."""

    raw: dict[str, Any]
    stage: Stage


@dataclass(frozen=True, slots=True)
class Scanner:
    """A policy's guards, ready for rows."""

    lanes: Mapping[Stage, Lanes]
    folder: Folder
    stage: Stage | None
    """None: a row's role decides."""

    @classmethod
    def build(cls, policy: Policy, stage: str, classifiers: Classifiers = NONE) -> Scanner:
        folder = Folder.new()
        lanes = {each: build_lanes(policy, each, folder, classifiers) for each in STAGES}
        return cls(lanes, folder, next((each for each in STAGES if each == stage), None))

    def parse_all(self, lines: Sequence[bytes], number: int) -> tuple[list[Row], ScanError | None]:
        """The rows before the first bad line, and what is wrong with that."""
        rows: list[Row] = []
        for at, line in enumerate(lines, number):
            try:
                row = self.parse(line, at)
            except ScanError as error:
                return rows, error
            if row is not None:
                rows.append(row)
        return rows, None

    def parse(self, line: bytes, number: int) -> Row | None:
        """None for a blank line."""
        if len(line) > MAX_LINE:
            raise ScanError(f"line {number} is longer than {MAX_LINE} bytes")
        if not line.strip():
            return None
        row = _parse(line, number)
        return Row(row, self.stage or ("output" if row.get("role") == "response" else "input"))

    async def judge(self, row: Row) -> dict[str, Any]:
        """One verdict line. Scores name every guard and category of the stage, found or not."""
        raw, lanes = row.raw, self.lanes[row.stage]
        judge = Judge(lanes.enforced, lanes.monitored, self.folder, row.stage)
        release = TextFilter.new(lanes.enforced, self.folder).feed(raw["text"], final=True)
        judge.note(release, "text", None)
        judge.watch_text(raw["text"], "text", None)
        duties = [*lanes.enforced.rules, *lanes.monitored.rules, *(s.duty for s in lanes.scored.rules)]
        scores = {f"{d.name}/{d.category}": 0.0 for d in duties}
        scored = await lanes.scored.check([_text(row)], patient=True) if not lanes.scored.idle else []
        for v in [*judge.verdicts, *scored]:
            key = f"{v.guard}/{v.category}"
            scores[key] = max(scores.get(key, 0.0), v.score)
        found = [*judge.verdicts, *notable(scored)]
        out: dict[str, Any] = {"id": raw["id"]} if "id" in raw else {}
        return {**out, "action": str(strongest(found)), "scores": scores, "findings": [v.finding() for v in found]}


def _text(row: Row) -> Text:
    """A row says by itself what it is; where it does not, the stage does."""
    role: Role = (
        "response" if row.raw.get("role", "response" if row.stage == "output" else "") == "response" else "prompt"
    )
    prompt = row.raw.get("prompt")
    return Text(row.raw["text"], "text", role, prompt if isinstance(prompt, str) else "")


def _policy(document: Document, name: str | None) -> Policy:
    known = {p.name: p for p in document.policies}
    if not known:
        raise ScanError("the config has no policies")
    if name is not None and name not in known:
        raise ScanError(f"--policy {name!r}: the config has {', '.join(known)}")
    return known[name] if name is not None else document.policies[0]


def _size(source: BinaryIO) -> int | None:
    try:
        return os.fstat(source.fileno()).st_size or None
    except OSError:
        return None


def _parse(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ScanError(f"line {number} is not JSON: {error.msg}") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise ScanError(f'line {number} needs a "text", a string')
    return row
