"""Whatever text a published schema lets an answer carry is on the table of carriers, and is treated as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.errors import WardgateError
from gateway.wire.chat import ChatWire
from gateway.wire.completions import CompletionsWire
from gateway.wire.coverage import COVERAGE, How, how, table
from gateway.wire.judge import Judge
from gateway.wire.messages import MessagesWire
from gateway.wire.responses.wire import ResponsesWire
from gateway.wire.surface import AnswerFilter, Ask, Wire
from guards.catalog import build_lanes
from guards.policy import Policy, Rule
from guards.text.fold import Folder
from tests.gateway.wire.schema import Sample, Texts

MARK = "windbag"
RULE = Rule(name="rude", kind="denylist", terms=(MARK,), action="redact", stages=("output",))
FOLDER = Folder.new()
LANES = build_lanes(Policy(name="p", guards=(RULE,)), "output", FOLDER)
SCHEMAS: Sequence[tuple[Wire, Any, bool]] = (
    (ChatWire(), ChatCompletion, False),
    (ChatWire(), ChatCompletionChunk, True),
    (CompletionsWire(), Completion, False),
    (CompletionsWire(), Completion, True),
    (MessagesWire(), Message, False),
    (MessagesWire(), RawMessageStreamEvent, True),
    (ResponsesWire(), Response, False),
    (ResponsesWire(), ResponseStreamEvent, True),
)
"""Surface, type of the official SDK, and whether it is a frame of a stream."""


def samples(kind: Any) -> Iterator[Sample]:
    return Texts.of(TypeAdapter(kind).json_schema(), MARK)


def answer(wire: Wire) -> AnswerFilter:
    judge = Judge(LANES.enforced, LANES.monitored, FOLDER, "output")
    filter_ = wire.answer(Ask({}, "x", "assistant", lambda: "Not this.", dict, hide_prompt=False), judge, guarded=True)
    assert filter_ is not None
    return filter_


def shown(wire: Wire, sample: Sample, *, streamed: bool) -> str:
    """What would leave of an answer that holds the mark there, and nothing where the answer is refused."""
    filter_ = answer(wire)
    try:
        if not streamed:
            filter_.whole(sample.value)
            return json.dumps(sample.value)
        out: list[bytes] = []
        filter_.frame(json.dumps(sample.value).encode(), out)
        filter_.flush(out)
        return b"".join(out).decode()
    except WardgateError:
        return ""


@pytest.mark.parametrize(
    ("wire", "kind", "streamed"), SCHEMAS, ids=[f"{w.route}{' streamed' * s}" for w, _, s in SCHEMAS]
)
def test_every_text_of_the_schema_is_on_the_table_and_treated_so(wire: Wire, kind: Any, streamed: bool) -> None:
    unknown, leaking = set(), set()
    for sample in samples(kind):
        said = how(wire.route, sample.path)
        if said is None:
            unknown.add(sample.path)
        elif said is not How.PLAIN and MARK in shown(wire, sample, streamed=streamed):
            leaking.add((sample.path, str(said)))
    assert not unknown, "not in gateway/wire/coverage.py"
    assert not leaking


def test_every_row_of_the_table_stands_for_something() -> None:
    used = set()
    for wire, kind, _ in SCHEMAS:
        for path in {sample.path for sample in samples(kind)}:
            used.add(next(row for row in COVERAGE if row.surface == wire.route and row.covers(path)))
    assert [row for row in COVERAGE if not row.vllm and row not in used] == []


def test_the_readme_shows_the_table() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert "\n".join(table()) in readme
