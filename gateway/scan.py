"""`wardgate scan`: the guards over JSON lines, in order, in constant memory."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from gateway.wire.choice import Judge
from guards.catalog import Lanes, build_lanes
from guards.policy import Document, Policy
from guards.stream import TextFilter
from guards.text.fold import Folder
from guards.verdict import Stage, Verdict, strongest

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
    folder = Folder.new()
    lanes: dict[Stage, Lanes] = {s: build_lanes(policy, s, folder) for s in STAGES}
    console = Console(stderr=True)
    with Progress(
        TextColumn("scan"), BarColumn(), MofNCompleteColumn(), TextColumn("bytes"), TimeRemainingColumn(), console=console,
        disable=not console.is_terminal and not os.environ.get("FORCE_COLOR"),
    ) as progress:  # fmt: skip
        _rows(lanes, folder, stage, source, sink, progress, progress.add_task("scan", total=_size(source)))
    sink.flush()


STAGES: tuple[Stage, ...] = ("input", "output")


def _rows(
    lanes: dict[Stage, Lanes], folder: Folder, stage: str, source: BinaryIO, sink: BinaryIO, progress: Progress, task: TaskID
) -> None:
    done = 0
    for number, line in enumerate(iter(lambda: source.readline(MAX_LINE + 1), b""), 1):
        if len(line) > MAX_LINE:
            raise ScanError(f"line {number} is longer than {MAX_LINE} bytes")
        done += len(line)
        if line.strip():
            row = _parse(line, number)
            at: Stage = "output" if (stage or ("output" if row.get("role") == "response" else "input")) == "output" else "input"
            sink.write(orjson.dumps(judge_row(row, lanes[at], folder, at)) + b"\n")
        if number % REFRESH == 0:
            progress.update(task, completed=done)
    progress.update(task, completed=done)


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
    findings = [_finding(v) for v in judge.verdicts]
    return {**out, "action": str(strongest(judge.verdicts)), "scores": scores, "findings": findings}


def _finding(verdict: Verdict) -> dict[str, object]:
    return verdict.finding()
