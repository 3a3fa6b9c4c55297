"""What guards find in an answer of `/v1/messages`: every block and every event, streamed or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from tests.fakes import Piece, Reply, Script, stream
from tests.fakes_messages import (
    Block,
    block_frames,
    block_start,
    block_stop,
    delta,
    event,
    message,
    message_end,
    message_frames,
    message_json,
    message_start,
    saying,
    text,
    thinking,
    tool_use,
)
from tests.gateway.harness import CODENAME, EMAIL, RUDE
from tests.gateway.messages import MESSAGES, REFUSAL, Events, ask, ask_stream, serving

MAIL = "ada@example.com"
BAD = "It is Project Titan, of course."
REFUSED = {
    "stop_reason": "refusal",
    "stop_sequence": None,
    "stop_details": {"type": "refusal", "category": None, "explanation": REFUSAL},
}
CITED = {
    "type": "char_location",
    "cited_text": "Project Titan",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 5,
}


def searched(title: str) -> Block:
    found = {"type": "web_search_result", "url": "https://a.example", "title": title, "encrypted_content": "Zm9v"}
    return {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found]}


BLOCKS: Sequence[tuple[Block, str]] = (
    (text(BAD), "content[0].text"),
    (thinking(BAD), "content[0].thinking"),
    (tool_use("mail", {"to": BAD}), "content[0].input"),
    (tool_use("mail", {BAD: 1}), "content[0].input"),
    (tool_use("Project Titan", {}), "content[0].name"),
    (text("Well.", citations=[CITED]), "content[0].citations[0].cited_text"),
    (searched(BAD), "content[0].content[0].title"),
)
"""A bad block, and where the badness is found."""
IDS = [where for _, where in BLOCKS]


async def streamed(script: Script, tmp_path: Path, redis_url: str, **policy: object) -> Events:
    async with serving(script, tmp_path, redis_url, EMAIL, CODENAME, **policy) as both:
        return await ask_stream(both.url)


async def whole(script: Script, tmp_path: Path, redis_url: str, **policy: object) -> Any:
    async with serving(script, tmp_path, redis_url, EMAIL, CODENAME, **policy) as both:
        return (await ask(both.url)).json()


async def test_an_unguarded_answer_is_the_upstreams_own(tmp_path: Path, redis_url: str) -> None:
    said = (thinking("Hm."), text("Hello."), tool_use("mail", {"to": "you"}))
    async with serving(saying(*said, stop="tool_use"), tmp_path, redis_url) as both:
        body = (await ask(both.url)).json()
        assert body.pop("wardgate")["action"] == "allow"
        assert body == message(*said, stop="tool_use")
        got = await ask_stream(both.url)
        got.check()
        assert got.end.pop("wardgate")["findings"] == []
        sent = b"".join(message_frames(*said, stop="tool_use")).decode()
        assert got.events == [json.loads(f.partition("\ndata: ")[2]) for f in sent.split("\n\n") if f]


async def test_a_clean_answer_passes_the_guards_as_it_is(tmp_path: Path, redis_url: str) -> None:
    said = (thinking("Hm."), text("Hello."), tool_use("mail", {"to": "yo\u00fc"}), text("Done."))
    body = await whole(saying(*said, stop="tool_use"), tmp_path, redis_url)
    assert body["content"] == list(said)
    got = await streamed(saying(*said, stop="tool_use"), tmp_path, redis_url)
    got.check()
    assert [got.spelled(i) for i in range(4)] == ["Hm.", "Hello.", json.dumps({"to": "yo\u00fc"}), "Done."]
    assert got.end["delta"]["stop_reason"] == "tool_use"
    assert got.end["wardgate"] == {"action": "allow", "policy": got.headers["x-wardgate-policy"], "findings": []}


async def test_every_block_is_redacted(tmp_path: Path, redis_url: str) -> None:
    said = (thinking(f"Not {MAIL}."), text(f"Write to {MAIL}"), tool_use("mail", {"to": MAIL, "n": 1}))
    where = ["content[0].thinking", "content[1].text", "content[2].input"]
    body = await whole(saying(*said), tmp_path, redis_url)
    assert body["content"][0]["thinking"] == "Not [EMAIL]."
    assert body["content"][1]["text"] == "Write to [EMAIL]"
    assert body["content"][2]["input"] == {"to": "[EMAIL]", "n": 1}
    assert [f["field"] for f in body["wardgate"]["findings"]] == where
    got = await streamed(saying(*said), tmp_path, redis_url)
    got.check()
    assert (got.spelled(0), got.spelled(1)) == ("Not [EMAIL].", "Write to [EMAIL]")
    assert json.loads(got.spelled(2)) == {"to": "[EMAIL]", "n": 1}
    assert [f["field"] for f in got.end["wardgate"]["findings"]] == where
    assert "ada@" not in got.raw


async def test_text_held_over_leaves_before_the_end_of_its_block(tmp_path: Path, redis_url: str) -> None:
    got = await streamed(saying(text("It is Project"), text(" Titan")), tmp_path, redis_url)
    got.check()
    assert (got.spelled(0), got.spelled(1)) == ("It is Project", " Titan")


async def test_citations_and_results_of_tools_are_redacted(tmp_path: Path, redis_url: str) -> None:
    cited = {**CITED, "cited_text": f"by {MAIL}"}
    found = searched(MAIL)
    body = await whole(saying(text("See.", citations=[cited]), found), tmp_path, redis_url)
    assert body["content"][0]["citations"][0]["cited_text"] == "by [EMAIL]"
    assert body["content"][1]["content"][0]["title"] == "[EMAIL]"
    got = await streamed(saying(text("See.", citations=[cited]), found), tmp_path, redis_url)
    got.check()
    assert "by [EMAIL]" in got.raw
    assert got.blocks[1]["content"][0]["title"] == "[EMAIL]"


@pytest.mark.parametrize(("block", "where"), BLOCKS, ids=IDS)
async def test_every_block_can_block_a_body(block: Block, where: str, tmp_path: Path, redis_url: str) -> None:
    body = await whole(saying(block, stop="tool_use"), tmp_path, redis_url)
    assert body["content"] == [{"type": "text", "text": REFUSAL}]
    assert (body["stop_reason"], body["type"], body["role"]) == ("refusal", "message", "assistant")
    assert body["usage"] == {"input_tokens": 7, "output_tokens": 3}
    assert [f["field"] for f in body["wardgate"]["findings"]] == [where]


@pytest.mark.parametrize(("block", "where"), BLOCKS, ids=IDS)
async def test_every_block_can_block_a_stream(block: Block, where: str, tmp_path: Path, redis_url: str) -> None:
    got = await streamed(saying(text("First."), block, stop="tool_use"), tmp_path, redis_url)
    got.check()
    assert got.spelled(0) == "First."
    last = len(got.blocks) - 1
    assert (got.blocks[last]["type"], got.spelled(last)) == ("text", REFUSAL)
    assert got.end["delta"] == REFUSED
    assert got.end["wardgate"]["action"] == "block"
    assert [f["field"] for f in got.end["wardgate"]["findings"]] == [where.replace("[0]", "[1]", 1)]
    assert "Titan" not in got.raw
    if block["type"] == "tool_use":  # not even that there was a call
        assert [b["type"] for b in got.blocks] == ["text", "text"]


async def test_a_block_ends_the_stream_and_the_upstream_call(tmp_path: Path, redis_url: str) -> None:
    frames = [message_start(), block_start(0, text("")), delta(0, "text_delta", text=BAD)]
    slow = [*frames, *[delta(0, "text_delta", text=" more")] * 2000]
    async with serving(stream(slow, gap=0.01), tmp_path, redis_url, CODENAME) as both:
        got = await ask_stream(both.url)
        await both.vllm.left.wait()
    got.check()
    assert (got.spelled(0), got.spelled(1)) == ("It is ", REFUSAL)


async def test_a_blocked_answer_is_an_error_where_the_policy_says_so(tmp_path: Path, redis_url: str) -> None:
    body = await whole(saying(text(BAD)), tmp_path, redis_url, on_block="error")
    assert body["type"] == "error"
    assert (body["error"]["code"], body["error"]["type"]) == ("content_filter", "invalid_request_error")
    assert body["wardgate"]["action"] == "block"
    got = await streamed(stream(message_frames(text(BAD), size=100)), tmp_path, redis_url, on_block="error")
    assert got.status == 400
    late = await streamed(
        stream(message_frames(text(f"Before. {BAD}")), gap=0.002), tmp_path, redis_url, on_block="error"
    )
    assert late.end["delta"]["stop_reason"] == "refusal"


async def test_the_stop_sequence_is_judged(tmp_path: Path, redis_url: str) -> None:
    frames = [message_start(), *message_end("stop_sequence", stop_sequence="Project Titan")]
    got = await streamed(stream(frames), tmp_path, redis_url)
    got.check()
    assert got.end["delta"] == REFUSED
    reply = Reply([message_json(text("Well."), stop="stop_sequence", stop_sequence=f"to {MAIL}")])
    assert (await whole(reply, tmp_path, redis_url))["stop_sequence"] == "to [EMAIL]"


async def test_fields_that_nobody_knows_are_judged(tmp_path: Path, redis_url: str) -> None:
    odd = text("Well.", note=[{"aside": BAD}])
    assert (await whole(saying(odd), tmp_path, redis_url))["stop_reason"] == "refusal"
    assert (await whole(Reply([message_json(note=BAD)]), tmp_path, redis_url))["stop_reason"] == "refusal"
    frames = [message_start(), block_start(0, text("")), delta(0, "text_delta", text="a", note=BAD), *message_end()]
    got = await streamed(stream(frames), tmp_path, redis_url)
    assert got.end["delta"]["stop_reason"] == "refusal"
    assert "Titan" not in got.raw


UNKNOWN: Sequence[Sequence[bytes]] = (
    [message_start(), event({"type": "surprise", "text": BAD}), *message_end()],
    [message_start(), block_start(0, {"type": "hologram", "text": BAD}), block_stop(0), *message_end()],
    [message_start(), block_start(0, text("")), delta(0, "hologram_delta", text=BAD), *message_end()],
    [message_start(), block_start(0, text("")), delta(0, "thinking_delta", thinking=BAD), *message_end()],
    [message_start(), delta(0, "text_delta", text=BAD), *message_end()],
    [message_start(), block_start(1, text("")), *message_end()],
    [message_start(), block_start(0, text("")), block_start(1, text("")), *message_end()],
    [message_start(), block_start(0, text("")), delta(1, "text_delta", text=BAD), *message_end()],
    [message_start(), *message_end()[:1], *block_frames(0, text(BAD), [BAD])],
    [block_start(0, text("")), delta(0, "text_delta", text=BAD)],
    [message_start(), message_end()[1]],
    [message_start(), *block_frames(0, text("Well."), ["Well."])],
    [b"data: [1]\n\n"],
    [b"data: {}\n\n"],
)


@pytest.mark.parametrize("frames", UNKNOWN)
async def test_an_unknown_event_or_block_is_refused(frames: Sequence[bytes], tmp_path: Path, redis_url: str) -> None:
    got = await streamed(stream([*frames]), tmp_path, redis_url)
    assert "Titan" not in got.raw
    if got.status == 200:
        assert got.names[-1] == "error"
        assert (got.events[-1]["type"], got.events[-1]["error"]["code"]) == ("error", "upstream_broken")
    else:
        assert got.status == 502
        assert json.loads(got.raw)["error"]["code"] == "upstream_broken"


SHAPES: Sequence[object] = (
    {"content": []},
    {"type": "message"},
    message({"type": "hologram", "text": BAD}),
    message({"type": "text", "text": 1}),
)


@pytest.mark.parametrize("body", SHAPES)
async def test_a_body_of_unknown_shape_is_refused(body: object, tmp_path: Path, redis_url: str) -> None:
    got = await whole(Reply([json.dumps(body).encode()]), tmp_path, redis_url)
    assert (got["type"], got["error"]["code"], got["error"]["type"]) == ("error", "upstream_broken", "api_error")


async def test_an_error_in_the_middle_is_told_as_an_event(tmp_path: Path, redis_url: str) -> None:
    said = {"type": "error", "error": {"type": "internal_error", "message": BAD}}
    frames: list[Piece] = [message_start(), block_start(0, text("")), delta(0, "text_delta", text="Well. "), 0.05]
    frames.append(event(said))
    got = await streamed(stream(frames), tmp_path, redis_url)
    assert got.names[-1] == "error"
    assert got.events[-1]["error"]["code"] == "upstream_error"
    assert "Titan" not in got.raw


async def test_what_a_monitored_guard_finds_changes_nothing_and_is_kept(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    said = (text("You windbag."), tool_use("say", {"text": "windbag"}))
    async with serving(saying(*said), tmp_path, redis_url, {**RUDE, "mode": "monitor"}, EMAIL) as both:
        for answer in (await ask(both.url), await ask_stream(both.url)):
            kept = await FlagLog(redis).show(answer.headers["x-request-id"])
            assert kept is not None
            assert kept["route"] == MESSAGES
            assert [v["field"] for v in kept["verdicts"]] == ["content[0].text", "content[1].input"]


async def test_a_tool_call_that_is_not_allowed_ends_the_turn(tmp_path: Path, redis_url: str) -> None:
    guard = {"name": "tools", "kind": "tool_call", "allowed_tools": ["search"], "action": "block"}
    tools = [{"name": n, "input_schema": {"type": "object", "required": ["q"]}} for n in ("search", "mail")]
    cases = {"mail": {"q": "x"}, "search": {"p": "x"}}
    for name, given in cases.items():
        said = saying(text("Well."), tool_use(name, given), stop="tool_use")
        async with serving(said, tmp_path, redis_url, guard) as both:
            body, got = (await ask(both.url, tools=tools)).json(), await ask_stream(both.url, tools=tools)
        got.check()
        assert body["stop_reason"] == got.end["delta"]["stop_reason"] == "refusal"
        assert [b["type"] for b in got.blocks] == ["text", "text"]
        for shown in (body["wardgate"], got.end["wardgate"]):
            assert {(f["guard"], f["field"]) for f in shown["findings"]} == {("tools", "content[1]")}
    async with serving(saying(tool_use("search", {"q": "x"})), tmp_path, redis_url, guard) as both:
        assert (await ask(both.url, tools=tools)).json()["content"][0]["input"] == {"q": "x"}
