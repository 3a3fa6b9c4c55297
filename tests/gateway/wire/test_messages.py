"""Whatever a message says, and however its stream is cut: what leaves is what the whole run lets leave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.judge import Judge
from gateway.wire.messages_answer import MessagesAnswer
from gateway.wire.sse import FrameReader
from gateway.wire.surface import Ask
from guards.lane import Lane
from tests.fakes_messages import (
    Block,
    block_frames,
    message,
    message_end,
    message_start,
    spelled,
    text,
    thinking,
    tool_use,
)
from tests.gateway.messages import Events, read_events
from tests.guards.lanes import FINDS, FOLDER, WORDS, every_kind

EMPTY = Lane((), None, ())
REDACTING, BLOCKING = every_kind(block=False), every_kind(block=True)
MARKER = "SKLONG" + "x" * 20 + "END"
REFUSAL = "Not this."
PARTS = st.sampled_from([*WORDS, *FINDS, MARKER, "\n", '"', "\\", "é", "🙂", "\u2028"]) | st.text(max_size=5)
TEXTS = st.lists(PARTS, max_size=8).map(" ".join) | st.lists(PARTS, max_size=8).map("".join)
INPUTS = st.dictionaries(st.sampled_from("abc"), TEXTS | st.integers(0, 99) | st.lists(TEXTS, max_size=2), max_size=3)
BLOCKS = st.lists(
    TEXTS.map(text) | TEXTS.map(thinking) | INPUTS.map(lambda given: tool_use("mail", given)), min_size=1, max_size=4
)


def answer(lane: Lane) -> MessagesAnswer:
    ask = Ask({}, "x", "assistant", lambda: REFUSAL, lambda: {"action": "allow", "findings": []}, hide_prompt=False)
    return MessagesAnswer(ask, Judge(lane, EMPTY, FOLDER, "output"))


def whole(lane: Lane, blocks: Sequence[Block]) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(message(*blocks)))
    filter_ = answer(lane)
    _, blocked = filter_.whole(body)
    if blocked:
        filter_.refuse_whole(body, blocked)
    return body


def cut(data: st.DataObject, given: str) -> list[str]:
    """Random pieces of a text, none empty."""
    at = sorted(data.draw(st.sets(st.integers(1, max(1, len(given) - 1)), max_size=12)))
    return [p for low, high in zip([0, *at], [*at, len(given)], strict=True) if (p := given[low:high])]


def sent(data: st.DataObject, blocks: Sequence[Block]) -> bytes:
    frames = [message_start()]
    for index, block in enumerate(blocks):
        frames += block_frames(index, block, cut(data, spelled(block)))
    return b"".join([*frames, *message_end()])


def run(filter_: MessagesAnswer, stream: bytes, sizes: Sequence[int]) -> list[bytes]:
    """What leaves, frame by frame, of a stream that comes in reads of these sizes."""
    reader, out, at = FrameReader(1 << 20), list[bytes](), 0
    for size in [*sizes, len(stream)]:
        for payload in reader.feed(stream[at : at + size]):
            if not filter_.done and (blocked := filter_.frame(payload, out)):
                filter_.refuse(blocked, out)
        at += size
    return [f + b"\n\n" for f in b"".join(out).split(b"\n\n") if f]


def seen(frames: Sequence[bytes], filter_: MessagesAnswer) -> Events:
    got = read_events(200, httpx.Headers(), b"".join([*frames, filter_.ending()]).decode())
    got.check()
    return got


def says(block: Mapping[str, Any]) -> object:
    return block["input"] if block["type"] == "tool_use" else block[block["type"]]


def heard(got: Events, index: int) -> object:
    said = got.spelled(index)
    return json.loads(said) if got.blocks[index]["type"] == "tool_use" else said


@settings(max_examples=300, deadline=None)
@given(BLOCKS, st.lists(st.integers(1, 200), max_size=20), st.data())
def test_each_block_of_a_stream_says_what_the_whole_run_says(
    blocks: Sequence[Block], sizes: Sequence[int], data: st.DataObject
) -> None:
    filter_ = answer(REDACTING)
    got = seen(run(filter_, sent(data, blocks), sizes), filter_)
    body = whole(REDACTING, blocks)
    assert [heard(got, i) for i in range(len(blocks))] == [says(b) for b in body["content"]]
    assert not any(find in got.raw for find in ("john.doe@", "Project Zebra", MARKER))


@settings(max_examples=300, deadline=None)
@given(BLOCKS, st.lists(st.integers(1, 200), max_size=20), st.data())
def test_a_stream_is_blocked_where_the_whole_run_is_and_shows_nothing_of_why(
    blocks: Sequence[Block], sizes: Sequence[int], data: st.DataObject
) -> None:
    filter_ = answer(BLOCKING)
    got = seen(run(filter_, sent(data, blocks), sizes), filter_)
    body = whole(BLOCKING, blocks)
    assert got.end["delta"]["stop_reason"] == body["stop_reason"]
    assert "SKLONGx" not in got.raw
    if body["stop_reason"] != "refusal":
        assert [heard(got, i) for i in range(len(blocks))] == [says(b) for b in body["content"]]
    else:
        assert got.spelled(len(got.blocks) - 1) == REFUSAL


@settings(max_examples=300, deadline=None)
@given(BLOCKS, st.booleans(), st.data())
def test_a_stream_that_is_refused_from_outside_ends_in_order_wherever_it_stands(
    blocks: Sequence[Block], block: bool, data: st.DataObject
) -> None:
    """As the model lane does it: some frames have left, the others are taken back for the refusal."""
    filter_ = answer(BLOCKING if block else REDACTING)
    stream = sent(data, blocks)
    frames = run(filter_, stream[: data.draw(st.integers(len(message_start()), len(stream)))], [])
    left = data.draw(st.integers(0, len(frames)))
    closed = filter_.closed and left == len(frames)
    waiting = [kept for f in frames[left:] if (kept := filter_.without(f, [0]))]
    out: list[bytes] = []
    filter_.refuse([0], out)
    got = seen([*frames[:left], *waiting, *out], filter_)
    assert (out == []) == closed
    assert got.end["delta"]["stop_reason"] == "refusal" or closed
    assert filter_.over
    assert filter_.done
