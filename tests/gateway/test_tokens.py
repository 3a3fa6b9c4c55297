"""Guesses before, counts after, for every surface's form of a usage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.tokens import MEDIUM, Usage, bound, weigh

CHUNK = {"choices": [{"index": 0, "delta": {"content": 'He said: "usage": 7'}}]}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def frame(data: dict[str, Any]) -> bytes:
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "x" * 400}]}, 101),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 400}]}]}, 102),
        ({"prompt": ["x" * 40, "y" * 40]}, 20),
        ({"prompt": [1, 2, 3, 4]}, 4),
        ({"prompt": [[1, 2], [3, 4, 5]]}, 5),
        ({"input": "日本語" * 100}, 225),
        ({"input": "\ud800"}, 1),
        ({"model": "x" * 400, "user": "y" * 400, "temperature": 1.0}, 0),
        ({}, 0),
    ],
)
def test_a_prompt_weighs_its_text(request_: dict[str, Any], tokens: int) -> None:
    assert weigh(request_) == pytest.approx(tokens, abs=2)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}},
        {"type": "input_audio", "input_audio": {"data": "A" * 100_000, "format": "wav"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 100_000}},
    ],
)
def test_an_image_weighs_the_same_however_many_bytes_it_has(part: dict[str, Any]) -> None:
    weight = weigh({"messages": [{"role": "user", "content": [part]}]})
    assert MEDIUM / 5 <= weight <= MEDIUM * 1.1


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        ({}, 256),
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 100, "n": 3}, 300),
        ({"max_output_tokens": 5, "max_tokens": "many"}, 5),
        ({"max_tokens": -1, "n": 10**9}, 256 * 128),
    ],
)
def test_an_answer_is_bounded_by_what_the_request_says(request_: dict[str, Any], tokens: int) -> None:
    assert bound(request_) == tokens


@pytest.mark.parametrize(
    "answer",
    [
        {"usage": USAGE},
        {"usage": {"prompt_tokens": 7, "completion_tokens": 3}},
        {"usage": {"input_tokens": 7, "output_tokens": 3}},
        {"usage": {"total_tokens": 10}},
    ],
)
def test_every_form_of_a_usage_is_read(answer: dict[str, Any]) -> None:
    usage = Usage(1)
    usage.ask("/chat/completions", {})
    usage.see(answer)
    assert usage.total == 10


@pytest.mark.parametrize("answer", [{}, {"usage": None}, {"usage": []}, {"usage": {"total_tokens": "10"}}])
def test_an_answer_without_usage_leaves_the_guess(answer: dict[str, Any]) -> None:
    usage = Usage(1)
    usage.ask("/chat/completions", {})
    usage.see(answer)
    assert usage.total is None


@pytest.mark.parametrize(
    "frames",
    [
        [{"choices": [], "usage": USAGE}],
        [{"type": "response.completed", "response": {"usage": {"input_tokens": 7, "output_tokens": 3}}}],
        [
            {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}},
            {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 3}},
        ],
    ],
)
def test_every_surfaces_stream_tells_its_usage(frames: list[dict[str, Any]]) -> None:
    usage = Usage(1)
    usage.ask("/responses", {"stream": True})
    assert not any(usage.keeps(frame(f)) for f in [CHUNK, *frames])
    assert usage.total == 10


def test_a_stream_that_was_cut_counts_the_prompt_and_the_frames_that_came() -> None:
    usage = Usage(20)
    usage.ask("/chat/completions", {"stream": True})
    for _ in range(5):
        usage.keeps(frame(CHUNK))
    assert usage.total == 25


def test_a_request_that_never_reached_the_model_used_nothing() -> None:
    assert Usage(20).total == 0


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False, "continuous_usage_stats": False}])
def test_the_usage_of_a_stream_is_asked_for_and_kept_from_a_client_that_did_not(options: Any) -> None:
    usage, request = Usage(1), {"stream": True, "stream_options": options}
    usage.ask("/chat/completions", request)
    assert request["stream_options"]["include_usage"] is True
    assert not usage.keeps(frame({"choices": CHUNK["choices"], "usage": None}))
    assert usage.keeps(frame({"choices": [], "usage": USAGE}))


def test_a_client_that_asks_for_the_usage_gets_it() -> None:
    usage, request = Usage(1), {"stream": True, "stream_options": {"include_usage": True}}
    usage.ask("/chat/completions", request)
    assert not usage.keeps(frame({"choices": [], "usage": USAGE}))


@pytest.mark.parametrize("payload", [b"[DONE]", b'{"usage":', b'["usage":]', b'"usage":', b'[{"usage": 1}]'])
def test_frames_that_are_no_chunk_are_the_filters_to_judge(payload: bytes) -> None:
    assert not Usage(1, ours=True).keeps(payload)


def test_a_client_cannot_fake_a_usage_inside_a_text() -> None:
    usage = Usage(1)
    usage.ask("/chat/completions", {"stream": True})
    usage.keeps(frame(CHUNK))
    assert not usage.counts
