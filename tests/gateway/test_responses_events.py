"""Events and items that nobody knows or can read, logprobs, annotations, and ends that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes import stream
from tests.fakes_responses import (
    Event,
    added,
    between,
    cut,
    done,
    events,
    frames,
    item_events,
    message,
    one,
    reasoning,
    response,
    text_part,
    whole,
)
from tests.gateway.harness import CODENAME, EMAIL
from tests.gateway.responding import (
    MAIL,
    answered,
    output_text,
    respond,
    respond_stream,
    served,
    told,
    told_broken,
)

# -- what is not known, or not readable


@pytest.mark.parametrize(
    "said",
    [
        [{"type": "response.of_tomorrow", "text": "x"}],
        [{"type": "response.audio.delta", "delta": "x"}],
        [{"type": "response.image_generation_call.partial_image", "output_index": 0, "partial_image_b64": "x"}],
        [{"type": "response.shell_call_command.delta", "output_index": 0, "command_index": 0, "delta": "x"}],
        [added({"type": "hologram", "id": "h"})],
        [added({"type": "image_generation_call", "id": "h", "result": "x"})],
        [added({"type": "compaction", "id": "h", "encrypted_content": "x"})],
        [added(message("x", content=[{"type": "smell", "text": "x"}]))],
        [done(message("x"))],
        [{"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "x"}],
        [added(message("x")), added(message("x"))],
        [added(message("x")), done(reasoning("x"))],
        [{"type": "x\ndata: y"}],
        [{"no": "type"}],
    ],
    ids=str,
)
async def test_what_is_not_known_is_not_handed_on(said: list[Event], tmp_path: Path, redis_url: str) -> None:
    pieces = frames([*events()[:2], *({"type": "none"} | e for e in said)])
    got = await told_broken(stream([p.replace(b'"type": "none", ', b"") for p in pieces]), tmp_path, redis_url)
    assert '"code":"upstream_broken"' in got.raw
    assert not any(word in got.raw for word in ("hologram", "smell", "tomorrow"))


@pytest.mark.parametrize("item", [{"type": "hologram"}, {"type": "image_generation_call", "result": "x"}, "x", None])
async def test_an_unknown_item_of_a_body_is_not_handed_on(item: object, tmp_path: Path, redis_url: str) -> None:
    body = await answered(whole(item), tmp_path, redis_url)
    assert body["error"]["code"] == "upstream_broken"


async def test_what_only_the_model_server_can_read_is_left_out(tmp_path: Path, redis_url: str) -> None:
    item = reasoning("Hm.", encrypted_content="c2VjcmV0")
    body = await answered(whole(item, output_messages=[{"content": "c2VjcmV0"}]), tmp_path, redis_url)
    assert body["output"] == [reasoning("Hm.", encrypted_content=None)]
    assert body["output_messages"] is None
    got = await told(one(item, ["Hm."]), tmp_path, redis_url)
    assert "c2VjcmV0" not in got.raw


async def test_what_stands_around_the_output_is_judged_unless_the_client_said_it(
    tmp_path: Path, redis_url: str
) -> None:
    echoed = {"tools": [{"type": "function", "name": "f", "description": f"Project Titan {MAIL}", "strict": None}]}
    guards = [{**guard, "stages": ["output"]} for guard in (EMAIL, CODENAME)]
    around = whole(message("Fine."), **echoed, note=f"to {MAIL}")
    async with served(around, tmp_path, redis_url, *guards) as both:
        body = (await respond(both.url, tools=[{"description": f"Project Titan {MAIL}", "name": "f"}])).json()
        assert (body["tools"], body["note"]) == (echoed["tools"], "to [EMAIL]")
        assert (await respond(both.url)).json()["status"] == "incomplete"


# -- logprobs


def logprobs(*words: str) -> list[dict[str, Any]]:
    return [{"token": w, "logprob": -0.1, "bytes": None, "top_logprobs": []} for w in words]


WORDS = ("Write", " to", " zoe", "@example", ".com", " now")


def tokens(entries: list[Any]) -> list[str]:
    return [entry["token"] for entry in entries]


async def test_logprobs_of_redacted_text_do_not_leave_a_body(tmp_path: Path, redis_url: str) -> None:
    item = message("", content=[text_part("".join(WORDS), logprobs=logprobs(*WORDS))])
    part = (await answered(whole(item), tmp_path, redis_url))["output"][0]["content"][0]
    assert part["text"] == "Write to [EMAIL] now"
    assert tokens(part["logprobs"]) == ["Write", " to", " now"]


async def test_logprobs_of_held_text_are_held_with_it(tmp_path: Path, redis_url: str) -> None:
    said = item_events(message("".join(WORDS)), WORDS)
    for event, word in zip(said[2:-3], WORDS, strict=True):
        event["logprobs"] = logprobs(word)
    said[-3]["logprobs"] = logprobs(*WORDS)
    said[-2]["part"] = said[-2]["part"] | {"logprobs": logprobs(*WORDS)}
    got = await told(between(*said), tmp_path, redis_url)
    kept = [entry for e in got.of("output_text.delta") for entry in e["logprobs"]]
    assert got.text() == "Write to [EMAIL] now"
    assert tokens(kept) == ["Write", " to", " now"]
    assert tokens(got.of("output_text.done")[0]["logprobs"]) == ["Write", " to", " now"]
    assert tokens(got.of("content_part.done")[0]["part"]["logprobs"]) == ["Write", " to", " now"]
    assert not any(word in got.raw for word in ("zoe", "@example"))


async def test_annotations_stream_judged(tmp_path: Path, redis_url: str) -> None:
    said = item_events(message("See it."), ["See it."])
    note = {"type": "url_citation", "url": f"http://x/{MAIL}", "title": "x", "start_index": 0, "end_index": 3}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "annotation_index": 0}
    said.insert(3, {"type": "response.output_text.annotation.added", **where, "annotation": note})
    said[-1]["item"]["content"][0] = text_part("See it.", annotations=[note])
    got = await told(between(*said), tmp_path, redis_url)
    assert got.of("output_text.annotation.added")[0]["annotation"]["url"] == "http://x/[EMAIL]"
    assert got.final["output"][0]["content"][0]["annotations"][0]["url"] == "http://x/[EMAIL]"
    assert "zoe" not in got.raw


# -- ends that are none


async def test_an_error_in_the_middle_ends_the_stream(tmp_path: Path, redis_url: str) -> None:
    said = [*events((message("Well, so."), ["Well, so."]))[:5], {"type": "error", "message": "Project Titan"}]
    got = await told_broken(stream(frames(said), gap=0.005), tmp_path, redis_url)
    assert got.names[-1] == "error"
    assert got.events[-1]["sequence_number"] == len(got.events) - 1
    assert (got.events[-1]["code"], got.events[-1]["error"]["code"]) == ("upstream_error", "upstream_error")
    assert "Titan" not in got.raw


async def test_a_stream_that_breaks_off_says_so(tmp_path: Path, redis_url: str) -> None:
    said = frames(events((message("Well, so."), ["Well, so."]))[:5])
    got = await told_broken(stream(said, gap=0.005), tmp_path, redis_url)
    assert (got.names[-1], got.events[-1]["code"]) == ("error", "upstream_broken")
    assert got.events[-1]["sequence_number"] == len(got.events) - 1


async def test_a_failed_response_ends_the_stream_with_a_judged_reason(tmp_path: Path, redis_url: str) -> None:
    failed = response(status="failed", error={"code": "server_error", "message": f"ask {MAIL}"})
    said = [*events()[:2], {"type": "response.failed", "response": failed}]
    got = await told(stream(frames(said)), tmp_path, redis_url)
    assert got.names[-1] == "response.failed"
    assert got.final["error"] == {"code": "server_error", "message": "ask [EMAIL]"}


async def test_an_answer_cut_by_its_length_says_so(tmp_path: Path, redis_url: str) -> None:
    final = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    got = await told(stream(frames(events((message("Well."), ["Well."]), final=final))), tmp_path, redis_url)
    assert (got.final["status"], got.final["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


async def test_parts_that_vllm_numbers_on_from_item_to_item_stay_whole(tmp_path: Path, redis_url: str) -> None:
    said = events((reasoning("Hm, so."), ["Hm, so."]), (message(f"to {MAIL} ok"), cut(f"to {MAIL} ok")))
    for event in said:
        if event.get("output_index") == 1 and "content_index" in event:
            event["content_index"] = 1
    async with served(stream(frames(said)), tmp_path, redis_url, EMAIL, CODENAME) as both:
        got = await respond_stream(both.url)
    assert got.text() == output_text(got.final) == "to [EMAIL] ok"
    assert len(got.final["wardgate"]["findings"]) == 1
