"""`wardgate scan`: the guards over JSON lines, in order, in constant memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.wire.choice import Judge
from guards.catalog import Lanes, build_lanes
from guards.policy import Document, Policy
from guards.stream import TextFilter
from guards.text.fold import Folder
from guards.verdict import Stage, strongest

MAX_LINE = 64 << 20
REFRESH = 200
"""Rows between updates of the progress bar."""


class ScanError(Exception):
    """A mistake in the arguments or the input."""


def scan_lines(document: Document, name: str | None, stage: str, source: BinaryIO, sink: BinaryIO) -> None:
    """Judge every row. Without `stage` a row's role decides: prompts are input, responses output."""
    policy = _policy(document, name)
    if stage not in ("", "input", "output"):
        raise ScanError(f"--stage {stage!r}: use input or output")
    scanner = Scanner.build(policy, stage)
    console = Console(stderr=True)
    columns = (TextColumn("scan"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("scan", total=_size(source))
        done = 0
        for number, line in enumerate(iter(lambda: source.readline(MAX_LINE + 1), b""), 1):
            done += len(line)
            if line.strip():
                sink.write(scanner.judge_line(line, number) + b"\n")
            if number % REFRESH == 0:
                progress.update(task, completed=done)
        progress.update(task, completed=done)
    sink.flush()


@dataclass(frozen=True, slots=True)
class Scanner:
    """A policy's guards, ready for rows."""

    lanes: dict[Stage, Lanes]
    folder: Folder
    stage: Stage | None
    """None: a row's role decides."""

    @classmethod
    def build(cls, policy: Policy, stage: str) -> Scanner:
        folder = Folder.new()
        lanes: dict[Stage, Lanes] = {
            "input": build_lanes(policy, "input", folder),
            "output": build_lanes(policy, "output", folder),
        }
        return cls(lanes, folder, "input" if stage == "input" else "output" if stage == "output" else None)

    def judge_line(self, line: bytes, number: int) -> bytes:
        if len(line) > MAX_LINE:
            raise ScanError(f"line {number} is longer than {MAX_LINE} bytes")
        row = _parse(line, number)
        stage = self.stage or ("output" if row.get("role") == "response" else "input")
        return orjson.dumps(judge_row(row, self.lanes[stage], self.folder, stage))


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


def judge_row(row: dict[str, Any], lanes: Lanes, folder: Folder, stage: Stage) -> dict[str, Any]:
    """One verdict line. Scores name every guard and category of the stage, found or not."""
    judge = Judge(lanes.enforced, lanes.monitored, folder, stage)
    release = TextFilter.new(lanes.enforced, folder).feed(row["text"], final=True)
    judge.note(release, "text", None)
    judge.watch_text(row["text"], "text", None)
    duties = [*lanes.enforced.rules, *lanes.monitored.rules]
    scores = {f"{d.name}/{d.category}": 0.0 for d in duties}
    for v in judge.verdicts:
        key = f"{v.guard}/{v.category}"
        scores[key] = max(scores.get(key, 0.0), v.score)
    out: dict[str, Any] = {"id": row["id"]} if "id" in row else {}
    findings = [v.finding() for v in judge.verdicts]
    return {**out, "action": str(strongest(judge.verdicts)), "scores": scores, "findings": findings}
