"""Every text in an answer, by the place where it stands, joined over the events of a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Path = tuple[str, ...]
NOT_WRITTEN = ("id", "signature", "obfuscation", "encrypted_content")
"""Ends of the names of fields that hold random letters."""


def texts(body: bytes) -> dict[Path, str]:
    """Lists are read in two ways: as pieces of one text, and as texts of their own."""
    found: dict[Path, list[str]] = {}
    for value in _values(body):
        kind = (str(value.get("type", "")),) if isinstance(value, dict) else ()
        for joined in (True, False):
            for path, text in _walk(value, (*kind, "joined" if joined else "apart"), joined=joined):
                found.setdefault(path, []).append(text)
    return {path: "".join(parts) for path, parts in found.items()}


def _values(body: bytes) -> Iterator[Any]:
    """The JSON of a whole answer, or of each event; what is neither is a text."""
    lines = [line.removeprefix(b"data:").strip() for line in body.split(b"\n") if line.startswith(b"data:")]
    for line in lines or [body]:
        if line and line != b"[DONE]":
            try:
                yield json.loads(line)
            except ValueError:
                yield line.decode(errors="replace")


def _walk(node: Any, path: Path, *, joined: bool) -> Iterator[tuple[Path, str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, dict):
        for place, (key, value) in enumerate(node.items()):
            if path[-1] == "top_logprobs" and not isinstance(value, dict | list | str):
                yield (*path, str(place)), key  # of /v1/completions: the tokens are the names
            if not key.endswith(NOT_WRITTEN):
                yield from _walk(value, (*path, key), joined=joined)
    elif isinstance(node, list):
        yield from _list(node, path, joined=joined)


def _list(node: list[Any], path: Path, *, joined: bool) -> Iterator[tuple[Path, str]]:
    if node and all(isinstance(x, int) and 0 <= x < 256 for x in node):
        yield path, bytes(node).decode(errors="replace")
        return
    for place, item in enumerate(node):
        index = item.get("index") if isinstance(item, dict) else None
        name = str(index) if index is not None else str(place)
        apart = index is not None or not joined or "top_logprobs" in path
        yield from _walk(item, (*path, name if apart else "*"), joined=joined)


def longest(text: str, marker: str) -> int:
    """Length of the longest piece of the marker in the text; one letter is no proof."""
    best = 0
    for run in re.findall(f"[{''.join(set(marker))}]{{2,}}", text):
        for start in range(len(run)):
            while start + best < len(run) and run[start : start + best + 1] in marker:
                best += 1
    return best if best > 1 else 0
