"""The leak table's meter: what it cannot see, it would call safe."""

from __future__ import annotations

import json

import pytest

from tests.bench.carriers.__main__ import SURFACES, frames
from tests.bench.carriers.cases import CASES, PATHS, Case
from tests.bench.carriers.plan import DENIED, MARKERS, OTHER, SECRET, WORD, read
from tests.bench.carriers.texts import longest, texts


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.surface}-{case.carrier}")
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("marker", ["word", "secret"])
def test_the_meter_sees_the_whole_marker_in_every_carrier(case: Case, stream: bool, marker: str) -> None:
    plan = read(json.dumps(case.request("bench", marker, 0, stream=stream)).encode())
    surface = SURFACES[PATHS[case.surface]]
    body = b"".join(frames(surface, plan)) if stream else json.dumps(surface.whole(plan)).encode()
    seen = [t for path, t in texts(body).items() if case.carrier != "logprobs" or "logprobs" in path]
    assert max(longest(text.replace(OTHER, ""), MARKERS[marker]) for text in seen) == len(MARKERS[marker])


@pytest.mark.parametrize("marker", [WORD, SECRET])
def test_a_quoted_pattern_is_no_leak(marker: str) -> None:
    assert longest(f"the pattern {DENIED} was found", marker) == 0


def test_a_part_of_the_marker_counts() -> None:
    assert longest(f"text {SECRET[:57]} more", SECRET) == 57
    assert longest("text and nothing else", SECRET) == 0
