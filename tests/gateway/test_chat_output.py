"""What guards find in an answer: every carrier, every choice, streamed or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import Reply, Script, chat_frame, chat_frames, chat_json, fake_vllm, frame, head, stream
from tests.gateway.harness import CODENAME, EMAIL, Streamed, ask, ask_stream, document, gateway

MAIL = "ada@example.com"
REFUSAL = "Not this."
DONE = b"data: [DONE]\n\n"
CARRIERS = ("content", "refusal", "reasoning", "reasoning_content")
OWNER = "You are the assistant of ACME. Never tell anybody that the sale begins on the first of May."


def cut(text: str, name: str = "content", size: int = 3) -> list[bytes]:
    """Frames that write `text` in pieces."""
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    frames = [chat_frame({"role": "assistant", "content": ""})]
    return [*frames, *(chat_frame({name: p}) for p in pieces), chat_frame({"content": ""}, finish="stop"), DONE]


async def streamed(script: Script, tmp_path: Path, redis_url: str, n: int = 1, **policy: object) -> Streamed:
    async with (
        fake_vllm(script) as vllm,
        gateway(document(vllm.url, EMAIL, CODENAME, refusal=REFUSAL, **policy), tmp_path, redis_url) as url,
    ):
        return await ask_stream(url, n=n, stream_options={"include_usage": True})


async def whole(script: Script, tmp_path: Path, redis_url: str, **policy: object) -> Any:
    async with (
        fake_vllm(script) as vllm,
        gateway(document(vllm.url, EMAIL, CODENAME, refusal=REFUSAL, **policy), tmp_path, redis_url) as url,
    ):
        return (await ask(url, logprobs=True)).json()


@pytest.mark.parametrize("name", CARRIERS)
async def test_each_carrier_of_a_stream_is_redacted(name: str, tmp_path: Path, redis_url: str) -> None:
    got = await streamed(stream(cut(f"Write to {MAIL} now.", name)), tmp_path, redis_url)
    assert got.text(name=name) == "Write to [EMAIL] now."
    assert got.wardgate["findings"][0]["field"] == f"choices[0].message.{name}"
    assert got.payloads[-1] == "[DONE]"


@pytest.mark.parametrize("name", CARRIERS)
async def test_each_carrier_of_a_body_is_redacted(name: str, tmp_path: Path, redis_url: str) -> None:
    message = {"content": None} | {name: f"Write to {MAIL} now."}
    body = await whole(Reply([chat_json(message.pop("content"), **message)]), tmp_path, redis_url)
    assert body["choices"][0]["message"][name] == "Write to [EMAIL] now."


@pytest.mark.parametrize("name", CARRIERS)
async def test_each_carrier_can_block_a_stream(name: str, tmp_path: Path, redis_url: str) -> None:
    got = await streamed(stream(cut("It is Project Titan, of course.", name)), tmp_path, redis_url)
    said = got.text(name=name)
    assert said == (f"It is {REFUSAL}" if name == "content" else "It is ")
    assert got.text().endswith(REFUSAL)
    assert got.ends == {0: "content_filter"}
    assert got.wardgate["action"] == "block"
    assert "usage" in got.chunks[-1]
    assert got.payloads[-1] == "[DONE]"
    assert not any("Titan" in p for p in got.payloads)


@pytest.mark.parametrize("name", CARRIERS)
async def test_each_carrier_can_block_a_body(name: str, tmp_path: Path, redis_url: str) -> None:
    message = {"content": "Well."} | {name: "It is Project Titan."}
    body = await whole(Reply([chat_json(message.pop("content"), **message)]), tmp_path, redis_url)
    assert body["choices"][0]["message"] == {"role": "assistant", "content": REFUSAL, "refusal": None}
    assert body["choices"][0]["finish_reason"] == "content_filter"
    assert body["wardgate"]["action"] == "block"


async def test_a_blocked_body_is_an_error_where_the_policy_says_so(tmp_path: Path, redis_url: str) -> None:
    body = await whole(Reply([chat_json("It is Project Titan.")]), tmp_path, redis_url, on_block="error")
    assert body["error"]["code"] == "content_filter"
    assert body["wardgate"]["action"] == "block"


async def test_a_stream_blocked_after_bytes_left_ends_as_a_refusal_even_under_error(
    tmp_path: Path, redis_url: str
) -> None:
    frames = cut("Long before. It is Project Titan, of course.")
    got = await streamed(stream(frames, gap=0.002), tmp_path, redis_url, on_block="error")
    assert got.status == 200
    assert got.text() == f"Long before. It is {REFUSAL}"
    assert got.ends == {0: "content_filter"}


def argument_frames(pieces: list[str]) -> list[bytes]:
    start = {"index": 0, "id": "c1", "type": "function", "function": {"name": "mail", "arguments": ""}}
    deltas: list[dict[str, Any]] = [start, *({"index": 0, "function": {"arguments": p}} for p in pieces)]
    return [*(chat_frame({"tool_calls": [d]}) for d in deltas), chat_frame({}, finish="tool_calls"), DONE]


def call_of(got: Streamed) -> Any:
    return next(c["delta"]["tool_calls"][0]["function"] for c in got.choices if c["delta"].get("tool_calls"))


async def test_arguments_split_inside_an_escape_are_redacted_and_stay_json(tmp_path: Path, redis_url: str) -> None:
    pieces = ['{"to": "ada', "\\", "u00", '40example.com", "line": "a\\', 'nb"}']
    got = await streamed(stream(argument_frames(pieces)), tmp_path, redis_url)
    assert json.loads(call_of(got)["arguments"]) == {"to": "[EMAIL]", "line": "a\nb"}
    assert got.ends == {0: "tool_calls"}
    assert call_of(got)["name"] == "mail"


async def test_arguments_can_block_a_stream(tmp_path: Path, redis_url: str) -> None:
    got = await streamed(stream(argument_frames(['{"a": "Proj', 'ect Ti\\u0074an"}'])), tmp_path, redis_url)
    assert got.text() == REFUSAL
    assert got.ends == {0: "content_filter"}
    assert not any("ect Ti" in p for p in got.payloads)


async def test_clean_arguments_come_whole_and_unchanged(tmp_path: Path, redis_url: str) -> None:
    got = await streamed(stream(argument_frames(['{"a": "b\\', 'u00e9"', " }"])), tmp_path, redis_url)
    assert call_of(got)["arguments"] == '{"a": "b\\u00e9" }'


def tokens(*words: str) -> dict[str, Any]:
    return {"content": [{"token": w, "logprob": -0.1, "bytes": None, "top_logprobs": []} for w in words]}


async def test_logprobs_of_redacted_text_do_not_leave_a_body(tmp_path: Path, redis_url: str) -> None:
    words = ("Write", " to", " ada", "@example", ".com", " now")
    body = json.loads(chat_json("".join(words)))
    body["choices"][0]["logprobs"] = tokens(*words)
    got = await whole(Reply([json.dumps(body).encode()]), tmp_path, redis_url)
    assert got["choices"][0]["message"]["content"] == "Write to [EMAIL] now"
    kept = [e["token"] for e in got["choices"][0]["logprobs"]["content"]]
    assert kept[:2] == ["Write", " to"]
    assert kept[-1] == " now"
    assert "ada" not in "".join(kept)


async def test_logprobs_of_held_text_are_held_with_it(tmp_path: Path, redis_url: str) -> None:
    frames = []
    for word in ("Write", " to", " ada", "@example", ".com", " now"):
        choice = {"index": 0, "delta": {"content": word}, "logprobs": tokens(word), "finish_reason": None}
        frames.append(frame(head("chat.completion.chunk") | {"choices": [choice]}))
    got = await streamed(stream([*frames, chat_frame({}, finish="stop"), DONE], gap=0.005), tmp_path, redis_url)
    kept = [e["token"] for c in got.choices for e in (c["logprobs"] or {}).get("content") or []]
    assert got.text() == "Write to [EMAIL] now"
    assert kept[:2] == ["Write", " to"]
    assert kept[-1] == " now"
    assert not any("ada" in p or "@example" in p for p in got.payloads)


def two(good: list[str], bad: list[str]) -> list[bytes]:
    """Two choices side by side: 0 is `good`, 1 is `bad`, which ends first."""
    frames = [chat_frame({"content": b}, 1) for b in bad] + [chat_frame({"content": g}, 0) for g in good]
    return [*frames, chat_frame({}, 1, finish="stop"), chat_frame({}, 0, finish="stop"), DONE]


async def test_only_the_bad_choice_of_a_stream_is_cut(tmp_path: Path, redis_url: str) -> None:
    frames = two(["All", " is", " well."], ["It is ", "Project", " Titan", " now", " and more"])
    got = await streamed(stream(frames, gap=0.002), tmp_path, redis_url, n=2)
    assert got.text(0) == "All is well."
    assert got.text(1) == f"It is {REFUSAL}"
    assert got.ends == {0: "stop", 1: "content_filter"}
    assert got.wardgate["findings"][0]["choice"] == 1
    assert got.payloads[-1] == "[DONE]"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_only_the_bad_choice_of_a_body_is_cut(order: tuple[int, int], tmp_path: Path, redis_url: str) -> None:
    body = json.loads(chat_json("x"))
    said = {0: "All is well.", 1: "It is Project Titan."}
    body["choices"] = [
        {"index": i, "message": {"role": "assistant", "content": said[i]}, "finish_reason": "stop"} for i in order
    ]
    got = await whole(Reply([json.dumps(body).encode()]), tmp_path, redis_url)
    assert {c["index"]: (c["message"]["content"], c["finish_reason"]) for c in got["choices"]} == {
        0: ("All is well.", "stop"),
        1: (REFUSAL, "content_filter"),
    }


@pytest.mark.parametrize("guise", [OWNER, OWNER.upper(), " ".join(OWNER)])
async def test_an_answer_that_repeats_the_owners_prompt_is_a_prompt_leak(
    guise: str, tmp_path: Path, redis_url: str
) -> None:
    prompt = {"text": OWNER, "mode": "prepend"}
    got = await streamed(stream(cut(f"Sure: {guise}", size=5)), tmp_path, redis_url, system_prompt=prompt)
    assert got.ends == {0: "content_filter"}
    assert got.wardgate["findings"][0]["category"] == "prompt_leak"
    assert len(got.text()) < len("Sure: ") + len(guise) / 2
    body = await whole(Reply([chat_json(guise)]), tmp_path, redis_url, system_prompt=prompt)
    assert body["choices"][0]["message"]["content"] == REFUSAL


async def test_a_blocked_choice_takes_its_usage_from_the_upstream_where_that_told_it(
    tmp_path: Path, redis_url: str
) -> None:
    got = await streamed(stream(chat_frames(["Fine", "."], n=2, usage=True)), tmp_path, redis_url, n=2)
    assert got.chunks[-1]["usage"]["prompt_tokens"] == 7
    assert got.chunks[-1]["choices"] == []
