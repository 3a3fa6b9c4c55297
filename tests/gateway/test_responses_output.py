"""What guards find in a response: every text of every item, whole and streamed, and wherever it is said again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import stream
from tests.fakes_responses import (
    between,
    call,
    cut,
    events,
    frames,
    item_events,
    message,
    one,
    reasoning,
    refusal,
    saying,
    summary,
    whole,
)
from tests.gateway.responding import (
    MAIL,
    REFUSAL,
    answered,
    output_text,
    respond_stream,
    served,
    told,
)

Made = Mapping[str, Any]
SPOKEN = {"output_text": message, "refusal": refusal, "reasoning_text": reasoning, "reasoning_summary_text": summary}
PLACES = {
    "output_text": "output[0].content[0].text",
    "refusal": "output[0].content[0].refusal",
    "reasoning_text": "output[0].content[0].text",
    "reasoning_summary_text": "output[0].summary[0].text",
}


# -- texts that stream


@pytest.mark.parametrize("name", SPOKEN)
async def test_each_text_of_a_stream_is_redacted_wherever_it_is_said(name: str, tmp_path: Path, redis_url: str) -> None:
    item = SPOKEN[name](f"Write to {MAIL} now.")
    got = await told(one(item, cut(f"Write to {MAIL} now.")), tmp_path, redis_url)
    assert got.text(name) == "Write to [EMAIL] now."
    assert got.final["output"] == [SPOKEN[name]("Write to [EMAIL] now.")]
    assert got.final["wardgate"]["findings"][0]["field"] == PLACES[name]
    assert "zoe" not in got.raw


@pytest.mark.parametrize("name", SPOKEN)
async def test_each_text_of_a_body_is_redacted(name: str, tmp_path: Path, redis_url: str) -> None:
    body = await answered(whole(SPOKEN[name](f"Write to {MAIL} now.")), tmp_path, redis_url)
    assert body["output"] == [SPOKEN[name]("Write to [EMAIL] now.")]
    assert body["wardgate"]["findings"][0]["field"] == PLACES[name]


@pytest.mark.parametrize("name", SPOKEN)
async def test_each_text_can_block_a_stream(name: str, tmp_path: Path, redis_url: str) -> None:
    item = SPOKEN[name]("It is Project Titan, of course.")
    got = await told(one(item, cut("It is Project Titan, of course.")), tmp_path, redis_url)
    assert got.text(name) == (f"It is {REFUSAL}" if name == "output_text" else "It is ")
    assert got.names[-1] == "response.incomplete"
    assert output_text(got.final).endswith(REFUSAL)
    assert (got.final["status"], got.final["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    assert [item["status"] for item in got.final["output"]] == ["incomplete"] * len(got.final["output"])
    assert got.final["wardgate"]["action"] == "block"
    assert "Titan" not in got.raw


@pytest.mark.parametrize("name", SPOKEN)
async def test_each_text_can_block_a_body(name: str, tmp_path: Path, redis_url: str) -> None:
    body = await answered(whole(message("Well."), SPOKEN[name]("It is Project Titan.")), tmp_path, redis_url)
    assert [p["text"] for item in body["output"] for p in item["content"]] == [REFUSAL]
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    assert body["usage"]["total_tokens"] == 10


async def test_a_block_ends_the_open_parts_in_order(tmp_path: Path, redis_url: str) -> None:
    said = events((reasoning("Hm, so it is."), ["Hm, so it is."]), (message("x"), ["It is Project Titan, so."]))
    got = await told(stream(frames(said)), tmp_path, redis_url)
    assert [name.removeprefix("response.") for name in got.names[-11:]] == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "incomplete",
    ]
    assert [item["type"] for item in got.final["output"]] == ["reasoning", "message"]
    assert [p["text"] for p in got.final["output"][1]["content"]] == ["It is ", REFUSAL]


async def test_a_program_that_waits_for_json_gets_a_refusal(tmp_path: Path, redis_url: str) -> None:
    wanted = {"format": {"type": "json_schema", "name": "x", "schema": {}}}
    async with served(saying("It is Project Titan."), tmp_path, redis_url) as both:
        got = await respond_stream(both.url, text=wanted)
    got.check()
    assert (got.text(), got.text("refusal")) == ("It is ", REFUSAL)
    assert got.final["output"][0]["content"][1] == {"type": "refusal", "refusal": REFUSAL}


async def test_a_blocked_answer_is_an_error_where_the_policy_says_so(tmp_path: Path, redis_url: str) -> None:
    body = await answered(whole(message("It is Project Titan.")), tmp_path, redis_url, on_block="error")
    assert body["error"]["code"] == "content_filter"


async def test_a_stream_blocked_after_bytes_left_ends_as_a_refusal_even_under_error(
    tmp_path: Path, redis_url: str
) -> None:
    got = await told(saying("Long before. It is Project Titan.", gap=0.002), tmp_path, redis_url, on_block="error")
    assert (got.status, got.names[-1]) == (200, "response.incomplete")
    assert got.text() == f"Long before. It is {REFUSAL}"


async def test_what_only_a_done_event_says_is_told_as_a_piece_first(tmp_path: Path, redis_url: str) -> None:
    item = message(f"Write to {MAIL} now.")
    for keep in (0, 2):
        got = await told(one(item, cut(f"Write to {MAIL} now.")[:keep]), tmp_path, redis_url)
        assert got.text() == output_text(got.final) == "Write to [EMAIL] now."


async def test_done_events_say_nothing_else_than_the_pieces_did(tmp_path: Path, redis_url: str) -> None:
    said = item_events(message("Well, Project Titan!"), ["Well."])
    got = await told(between(*said), tmp_path, redis_url)
    assert got.text() == output_text(got.final) == "Well."
    assert "Titan" not in got.raw


async def test_the_last_event_brings_items_that_never_streamed_judged_too(tmp_path: Path, redis_url: str) -> None:
    said = events((message("Well."), ["Well."]))
    said[-1]["response"]["output"].append(call(json.dumps({"to": MAIL})))
    got = await told(stream(frames(said)), tmp_path, redis_url)
    assert [item["type"] for item in got.final["output"]] == ["message", "function_call"]
    assert json.loads(got.final["output"][1]["arguments"]) == {"to": "[EMAIL]"}
    said[-1]["response"]["output"][1] = call('"Project Titan"')
    got = await told(stream(frames(said)), tmp_path, redis_url)
    assert got.names[-1] == "response.incomplete"
    assert "Titan" not in got.raw
