"""Whatever text a published schema lets an answer carry is on the table of carriers, and is treated as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from gateway.errors import UpstreamBroken
from gateway.wire.chat import ChatWire
from gateway.wire.choice import Judge
from gateway.wire.coverage import COVERAGE, How, how
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
)
"""Surface, type of the official SDK, and whether it is a frame of a stream."""


def cases() -> Iterator[Any]:
    for wire, kind, streamed in SCHEMAS:
        for i, sample in enumerate(Texts.of(TypeAdapter(kind).json_schema(), MARK)):
            yield pytest.param(wire, sample, streamed, id=f"{wire.route} {sample.path} {i}")


def answer(wire: Wire) -> AnswerFilter:
    judge = Judge(LANES.enforced, LANES.monitored, FOLDER, "output")
    return wire.answer(Ask({}, "x", "assistant", "Not this.", dict, hide_prompt=False), judge, guarded=True)


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
    except UpstreamBroken:
        return ""


@pytest.mark.parametrize(("wire", "sample", "streamed"), list(cases()))
def test_every_text_of_the_schema_is_on_the_table_and_treated_so(wire: Wire, sample: Sample, streamed: bool) -> None:
    said = how(wire.route, sample.path)
    assert said is not None, f"{sample.path} of {wire.route} is not in gateway/wire/coverage.py"
    left = shown(wire, sample, streamed=streamed)
    if said is not How.PLAIN:
        assert MARK not in left


def test_every_row_of_the_table_stands_for_something() -> None:
    used = set()
    for wire, kind, _ in SCHEMAS:
        for sample in Texts.of(TypeAdapter(kind).json_schema(), MARK):
            used |= {row for row in COVERAGE if row.surface == wire.route and row.covers(sample.path)}
    extra = {row for row in COVERAGE if row.surface in {wire.route for wire, _, _ in SCHEMAS} and not row.vllm}
    assert extra <= used
