from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamBroken
from gateway.wire.sse import FrameReader, frame

STREAM = b': hello\n\ndata: {"a":1}\n\ndata:{"b":2}\r\n\r\nid: 7\ndata: x\ndata: y\n\ndata: [DONE]\n\n'


@given(edges=st.sets(st.integers(0, len(STREAM))))
def test_frames_come_whole_however_the_bytes_are_cut(edges: set[int]) -> None:
    reader = FrameReader(1000)
    cuts = [0, *sorted(edges), len(STREAM)]
    frames = [f for a, b in itertools.pairwise(cuts) for f in reader.feed(STREAM[a:b])]
    assert frames == [b'{"a":1}', b'{"b":2}', b"x\ny", b"[DONE]"]
    reader.finish()


def test_half_a_frame_at_the_end_is_an_error() -> None:
    reader = FrameReader(1000)
    reader.feed(b'data: {"a"')
    with pytest.raises(UpstreamBroken):
        reader.finish()


def test_a_frame_without_end_is_refused() -> None:
    with pytest.raises(UpstreamBroken):
        FrameReader(10).feed(b"data: " + b"x" * 20)


def test_a_line_of_unknown_shape_is_refused() -> None:
    with pytest.raises(UpstreamBroken):
        FrameReader(100).feed(b"<html>\n\n")


def test_data_of_several_lines_stays_one_event() -> None:
    assert FrameReader(1000).feed(frame(b'{"a":\n1}')) == [b'{"a":\n1}']
