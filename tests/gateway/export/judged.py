"""Cases that people have decided, and what an export makes of them."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import orjson

from gateway.export.exporter import Exporter, Request
from gateway.export.folder import Folder
from gateway.export.formats import formats
from gateway.export.redaction import Redactors
from gateway.review.case import Case, Matter
from gateway.review.decision import Choice, Decision
from gateway.review.views import View
from guards.policy import Document

AT = 1_790_000_000.0
FIELD = "choices[0].message.content"
CONFIG: dict[str, Any] = {
    "version": 1,
    "upstreams": [{"name": "vllm", "base_urls": ["http://127.0.0.1:9/v1"]}],
    "models": [{"name": "assistant", "upstream": "vllm", "policy": "support"}],
    "policies": [
        {
            "name": "support",
            "guards": [
                {"name": "pii", "kind": "pii", "entities": ["email"], "stages": ["input"], "action": "flag"},
                {"name": "codename", "kind": "pattern", "pattern": "Project [A-Z]\\w{2,20}", "action": "redact"},
                {"name": "badge", "kind": "pattern", "pattern": "badge-\\d+", "action": "block"},
            ],
        },
        {"name": "bare"},
    ],
}
Judged = tuple[View, Matter | None]


def judged(
    id: str,
    choice: Choice = "allow",
    *,
    question: str = "",
    answer: str = "",
    request: dict[str, Any] | None = None,
    texts: dict[str, str] | None = None,
    whole: dict[str, Any] | None = None,
    system_prompt: str = "",
    view: dict[str, Any] | None = None,
    said: dict[str, Any] | None = None,
    **case: Any,
) -> Judged:
    """A decided case with its texts; each has words of its own, unless they are given."""
    given = {"id": id, "exchange": id, "at": AT, "opened": AT, "tenant": "acme", "model": "assistant", "severity": 2}
    given |= {"policy": "support@1a2b", "route": "/v1/chat/completions", "stage": "output", "source": "guard"}
    given |= {"deliver": "withhold", "categories": ("weapons",), "deadline": None, "on_deadline": "block"}
    known = Case(**{**given, **case})
    decision = Decision(**{"case": id, "choice": choice, "reviewer": "ann", "at": AT + 60, **(said or {})})
    stands: dict[str, Any] = {"state": "closed", "level": "reviewer", "reviewer": "ann", "token": 0, "expires": 0.0}
    stands |= {"skips": 0, "phase": "first", "reviews": (decision,), "outcome": decision, "pending": None}
    stands |= {"effective_at": None, "closed_at": AT + 90}
    asked = request or {"messages": [{"role": "user", "content": question or words(f"question {id}")}]}
    wrote = texts if texts is not None else {FIELD: answer or words(f"answer {id}")}
    verdict = {"guard": "badge", "version": "0a1b2c3d", "category": "weapons"}
    matter = Matter(asked, wrote, [verdict], whole, None, system_prompt)
    return View(**{"case": known, **stands, **(view or {})}), matter


def words(seed: str) -> str:
    """A sentence that is like no other's."""
    return f"{seed} " + " ".join(hashlib.sha256(f"{seed} {i}".encode()).hexdigest()[:9] for i in range(12))


def rewritten(id: str, text: str, choice: Choice = "allow_with_edit", **fields: Any) -> Judged:
    return judged(id, choice, said={"edits": {FIELD: text}}, **fields)


async def made(cases: Iterable[Judged], format: str, **request: Any) -> dict[str, Any]:
    """Every file of the set, by name."""
    wanted = Request(formats()[format], **request)
    with tempfile.TemporaryDirectory() as place:
        folder = Folder.beside(Path(place) / "set")
        await Exporter(wanted, Redactors.of(Document.model_validate(CONFIG))).write(each(cases), folder, AT)
        folder.publish()
        return {path.name: content(path) for path in sorted(folder.target.iterdir())}


def export(cases: Iterable[Judged], format: str, **request: Any) -> dict[str, Any]:
    return asyncio.run(made(cases, format, **request))


async def rows(cases: Iterable[Judged], format: str, **request: Any) -> list[dict[str, Any]]:
    files = await made(cases, format, **request)
    return [*files["train.jsonl"], *files["validation.jsonl"]]


async def left_out(cases: Iterable[Judged], format: str = "sft", **request: Any) -> dict[str, int]:
    found: dict[str, int] = (await made(cases, format, **request))["manifest.json"]["cases"]["left_out"]
    return found


def content(path: Path) -> Any:
    data = path.read_bytes()
    return orjson.loads(data) if path.suffix == ".json" else [orjson.loads(line) for line in data.splitlines()]


async def each(cases: Iterable[Judged]) -> AsyncIterator[Judged]:
    for case in cases:
        yield case
