"""Responses on their way out, whatever the upstream does: no text leaves that the whole answer would have withheld."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseOutputItem, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.errors import UpstreamBroken, WardgateError
from gateway.wire.judge import Judge
from gateway.wire.responses.answer import ResponsesAnswer
from gateway.wire.responses.events import Teller
from gateway.wire.responses.items import HELD, REFUSED, SPOKEN
from gateway.wire.surface import Ask
from guards.catalog import build_lanes
from guards.policy import Policy
from guards.verdict import Action
from tests.fakes_responses import Event, call, custom, events, message, reasoning, refusal, response, summary
from tests.gateway.wire.schema import Texts
from tests.guards.lanes import FOLDER, rule

MARK = "Project Zanzibar"
MAIL = "zoe@example.com"
SAFE = "[EMAIL]"
GUARDS = {
    "redact": (rule("pii", "pii", entities=("email",)),),
    "block": (
        rule("pii", "pii", entities=("email",)),
        rule("codename", "pattern", Action.BLOCK, pattern=r"Project [A-Z]\w{2,20}"),
    ),
}
LANES = {name: build_lanes(Policy(name="p", guards=guards), "output", FOLDER) for name, guards in GUARDS.items()}
REFUSAL = "Not this."


def answer(lane: str = "block", request: Mapping[str, Any] | None = None) -> ResponsesAnswer:
    ask = Ask(dict(request or {}), "x", "assistant", lambda: REFUSAL, lambda: {"action": "allow"}, False)
    lanes = LANES[lane]
    return ResponsesAnswer(ask, Judge(lanes.enforced, lanes.monitored, FOLDER, "output"), True, Teller(), "resp_x")


def run(said: Sequence[Event], lane: str = "block") -> tuple[ResponsesAnswer, list[bytes]]:
    """What leaves of these events."""
    filter_ = answer(lane)
    out: list[bytes] = []
    for n, event in enumerate(said):
        blocked = filter_.frame(json.dumps({"sequence_number": n} | event).encode(), out)
        if blocked:
            filter_.refuse(blocked, out)
        if filter_.done:
            break
    return filter_, out


def parsed(out: Sequence[bytes]) -> list[Any]:
    return [json.loads(data.partition(b"\ndata: ")[2]) for data in out]


def texts_of(item: Any) -> list[str]:
    """The texts of an item, in order."""
    if item["type"] in ("message", "reasoning"):
        parts = [*(item.get("summary") or []), *(item.get("content") or [])]
        return [part.get("text", part.get("refusal")) for part in parts]
    return [item.get("arguments", item.get("input"))]


def streamed(told: Sequence[Any]) -> dict[int, list[str]]:
    """Output index -> the texts that its pieces make, in order."""
    texts: dict[tuple[int, int], str] = {}
    for e in told:
        if e["type"].endswith(".delta"):
            at = (e["output_index"], e.get("content_index", e.get("summary_index", 0)))
            texts[at] = texts.get(at, "") + e["delta"]
    found: dict[int, list[str]] = {}
    for (index, _), text in sorted(texts.items()):
        found.setdefault(index, []).append(text)
    return found


PIECES = st.lists(
    st.sampled_from(["a ", "zoe", "@", "example", ".com", " ", MAIL, "é", "\\", '"', "\n", "Proj"]), max_size=9
)
MARKED = st.lists(st.sampled_from(["Pro", "ject", " ", "Zan", "zibar", MARK, MAIL, "x ", "so\n"]), max_size=9)
MAKES: Sequence[Callable[..., dict[str, Any]]] = [message, refusal, reasoning, summary, call, custom]


@st.composite
def items(draw: st.DrawFn, pieces: st.SearchStrategy[list[str]]) -> list[tuple[dict[str, Any], list[str]]]:
    """Items, and the pieces in which each is said."""
    made = []
    for n in range(draw(st.integers(1, 4))):
        make = draw(st.sampled_from(MAKES))
        text = "".join(draw(pieces))
        if make is call:
            text = json.dumps({"x": text}, ensure_ascii=draw(st.booleans()))
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
        said = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        made.append((make(text, id=f"i_{n}"), said))
    return made


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(items(PIECES))
def test_pieces_wholes_and_the_whole_run_agree(made: list[tuple[dict[str, Any], list[str]]]) -> None:
    _, out = run(events(*made), "redact")
    told = parsed(out)
    body = response([json.loads(json.dumps(item)) for item, _ in made])
    answer("redact").whole(body)
    final = told[-1]["response"]["output"]
    expected = [texts_of(item) for item in body["output"]]
    assert [texts_of(item) for item in final] == expected
    for index, texts in streamed(told).items():
        assert [t for t in texts if t] == [t for t in expected[index] if t]
    for e in told:
        if e["type"].endswith(".done"):
            whole = next((e[k] for k in ("text", "refusal", "arguments", "input") if k in e), None)
            assert whole is None or whole in expected[e["output_index"]]
    assert [e["sequence_number"] for e in told] == list(range(len(told)))
    assert MAIL.encode() not in b"".join(out)


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(items(MARKED), st.data())
def test_no_stream_says_what_the_whole_answer_withholds(
    made: list[tuple[dict[str, Any], list[str]]], data: st.DataObject
) -> None:
    said = events(*made)
    for event in data.draw(st.lists(st.sampled_from(said), max_size=3)):  # an upstream that contradicts itself
        for key in ("text", "refusal", "arguments", "input"):
            if key in event:
                event[key] = "".join(data.draw(MARKED))
    filter_, out = run(said)
    told = parsed(out)
    raw = b"".join(out).decode()
    assert "Project Zan" not in raw
    assert MAIL not in raw
    assert told[-1]["type"] in ("response.completed", "response.incomplete")
    assert filter_.over
    consistent(told)


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(items(PIECES), st.data())
def test_a_stream_that_is_stopped_from_outside_ends_with_what_had_left(
    made: list[tuple[dict[str, Any], list[str]]], data: st.DataObject
) -> None:
    """The model lane holds frames back, and takes them away when it blocks."""
    filter_, said = answer("redact"), events(*made)
    stop = data.draw(st.integers(0, len(said)))
    batches: list[list[bytes]] = []
    for n, event in enumerate(said[:stop]):
        batches.append([])
        filter_.frame(json.dumps({"sequence_number": n} | event).encode(), batches[-1])
    left = data.draw(st.integers(0, len(batches)))
    out = [data for batch in batches[:left] for data in batch]
    kept = [filter_.without(b"".join(batch), [0]) for batch in batches[left:]]
    last: list[bytes] = []
    filter_.refuse([0], last)
    leaves = [*out, *(b + b"\n\n" for k in kept for b in k.split(b"\n\n") if b), *last]
    told = parsed(leaves)
    assert [e["sequence_number"] for e in told] == list(range(len(told)))
    assert told[-1]["type"] == "response.incomplete"
    after = streamed(told)
    for index, texts in streamed(parsed(out)).items():
        assert after[index][: len(texts)] == texts
    consistent(told)


def consistent(told: Sequence[Any]) -> None:
    """What is announced is ended, and whoever says a text again says what its pieces said."""
    added = [e["output_index"] for e in told if e["type"] == "response.output_item.added"]
    done = {e["output_index"]: e["item"] for e in told if e["type"] == "response.output_item.done"}
    assert sorted(added) == sorted(done)
    pieces = streamed(told)
    for index, item in done.items():
        assert [t for t in texts_of(item) if t] == [t for t in pieces.get(index, []) if t]
    output = told[-1]["response"]["output"]
    assert output[: len(done)] == [done[i] for i in sorted(done)]


def test_a_text_that_only_the_last_event_goes_on_with_is_read_as_one() -> None:
    first, second, *said, last = events((message(f"to {MAIL}"), ["to zoe", "@exam"]))
    _, out = run([first, second, *said[:4], last], "redact")
    assert b"zoe" not in b"".join(out)
    assert texts_of(parsed(out)[-1]["response"]["output"][0]) == [f"to {SAFE}"]


# -- the published schema

SCHEMA = Response.model_json_schema(mode="serialization")
NAMED = {"model", "object", "id", "previous_response_id", "status"}


SAMPLES = list(Texts.of(SCHEMA, MARK))


def test_no_text_of_a_published_response_passes_unjudged() -> None:
    """Every place where OpenAI's schema allows a text: it is judged, taken away, or the answer is refused."""
    assert len(SAMPLES) > 200
    leaks = []
    for path, value in SAMPLES:
        body = response() | value
        filter_ = answer()
        try:
            _, blocked = filter_.whole(body)
        except UpstreamBroken:
            continue
        if not blocked and MARK in json.dumps(body) and path not in NAMED:
            leaks.append(path)
    assert leaks == []


def test_no_text_of_a_published_event_passes_unjudged() -> None:
    schema = TypeAdapter(ResponseStreamEvent).json_schema(mode="serialization")
    first = events((message("x"), []))[:4]
    leaks = []
    for path, value in Texts.of(schema, MARK):
        for before in (first[:2], first):
            try:
                _, out = run([*before, value, events()[-1]])
            except WardgateError:
                continue
            if MARK.encode() in b"".join(out) and path.removeprefix("response.") not in NAMED:
                leaks.append(path)
    assert leaks == []


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"type": 1}', b"[DONE]", b'{"type": "response.completed"}'])
def test_an_event_that_is_none_is_refused(broken: bytes) -> None:
    with pytest.raises(WardgateError):
        answer().frame(broken, [])


def test_every_published_item_is_judged_or_refused() -> None:
    schema = TypeAdapter(ResponseOutputItem).json_schema(mode="serialization")
    published = {option["$ref"].rsplit("/", 1)[-1] for option in schema["anyOf"]}
    types = {schema["$defs"][name]["properties"]["type"]["const"] for name in published}
    assert types == SPOKEN | HELD | REFUSED
    assert not (SPOKEN | HELD) & REFUSED
