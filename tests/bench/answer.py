"""A streamed answer taken apart: its text, and when each part of it arrived."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.bench.connection import Piece

STAMP = re.compile(r"zq([a-p]{14})")
CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
Mark = tuple[int, int]
"""(end offset, time of arrival in ns)."""


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes
    whole: bool
    """The HTTP body came to its end."""
    text: str = ""
    marks: list[Mark] = field(default_factory=list)
    """Of the text's parts."""
    finish: str | None = None

    def delays(self) -> Iterator[float]:
        """Microseconds from the upstream's writing a stamp to its last character's arrival here."""
        ends = [end for end, _ in self.marks]
        for stamp in STAMP.finditer(self.text):
            arrived = self.marks[bisect_left(ends, stamp.end())][1]
            yield (arrived - stamp_time(stamp[1])) / 1e3


def stamp_time(letters: str) -> int:
    value = 0
    for letter in letters:
        value = value << 4 | ord(letter) - ord("a")
    return value


def read_answer(pieces: list[Piece]) -> Answer:
    raw = b"".join(data for _, data in pieces)
    head, _, rest = raw.partition(b"\r\n\r\n")
    status = int(head[9:12]) if head[9:12].isdigit() else 0
    if not CHUNKED.search(head):
        return Answer(status, rest, whole=True)
    body, arrivals = _unchunk(raw, len(head) + 4, pieces)
    answer = Answer(status, body, raw.endswith(b"0\r\n\r\n"))
    if arrivals:
        _read_events(answer, arrivals)
    return answer


def _unchunk(raw: bytes, at: int, pieces: list[Piece]) -> tuple[bytes, list[Mark]]:
    """The body, and when each part of it was here."""
    offsets, size = [], 0
    for _, data in pieces:
        size += len(data)
        offsets.append(size)
    body: list[bytes] = []
    arrivals: list[Mark] = []
    total = 0
    while (line_end := raw.find(b"\r\n", at)) >= 0:
        length = int(raw[at:line_end].split(b";")[0] or b"0", 16)
        if length == 0:
            break
        start = line_end + 2
        body.append(raw[start : start + length])
        total += len(body[-1])
        arrivals.append((total, pieces[bisect_left(offsets, min(start + length, len(raw)))][0]))
        at = start + length + 2
    return b"".join(body), arrivals


def _read_events(answer: Answer, arrivals: list[Mark]) -> None:
    ends = [end for end, _ in arrivals]
    text: list[str] = []
    size = at = 0
    for event in answer.body.split(b"\n\n"):
        at += len(event) + 2
        for part in _contents(answer, event):
            text.append(part)
            size += len(part)
            answer.marks.append((size, arrivals[min(bisect_left(ends, at), len(ends) - 1)][1]))
    answer.text = "".join(text)


def _contents(answer: Answer, event: bytes) -> Iterator[str]:
    """The texts of one event; how the answer ended is noted on the way."""
    for line in event.split(b"\n"):
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or not data.startswith(b"{"):
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            answer.finish = "error: " + json.dumps(chunk["error"])[:200]
        for choice in chunk.get("choices") or ():
            answer.finish = choice.get("finish_reason") or answer.finish
            part = (choice.get("delta") or {}).get("content")
            if part:
                yield part
