"""`/v1/responses`: what comes in, what is asked of the upstream, and what a client sees of both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from tests.fakes import Reply, fake_vllm, stream
from tests.fakes_responses import echoing, events, frames, message, reasoning, response, saying, whole
from tests.gateway.harness import CODENAME, EMAIL, document, gateway, with_tenants
from tests.gateway.responding import (
    MAIL,
    PATH,
    answered,
    respond,
    respond_stream,
    served,
)

OWNER = "You are the assistant of ACME."


async def test_a_response_comes_as_the_model_server_sent_it(tmp_path: Path, redis_url: str) -> None:
    body = await answered(whole(reasoning("Hm."), message("Fine.")), tmp_path, redis_url)
    wardgate = body.pop("wardgate")
    assert body == response([reasoning("Hm."), message("Fine.")])
    assert wardgate["action"] == "allow"


async def test_a_stream_comes_event_by_event(tmp_path: Path, redis_url: str) -> None:
    said = events((reasoning("Hm."), ["H", "m."]), (message("Fine."), ["Fi", "ne."]))
    async with served(stream(frames(said)), tmp_path, redis_url, CODENAME) as both:
        got = await respond_stream(both.url)
    got.check()
    assert [e["type"] for e in said] == got.names
    assert (got.text("reasoning_text"), got.text()) == ("Hm.", "Fine.")
    assert got.final["status"] == "completed"
    assert got.final["usage"]["total_tokens"] == 10
    assert got.final["wardgate"]["action"] == "allow"
    assert [item["id"] for item in got.final["output"]] == ["rs_1", "msg_1"]


async def test_without_guards_a_stream_is_handed_on(tmp_path: Path, redis_url: str) -> None:
    said = [*events((message("Fine."), ["Fine."]))]
    said.insert(2, {"type": "response.of_tomorrow", "x": 1})
    async with served(stream(frames(said)), tmp_path, redis_url, {**EMAIL, "stages": ["input"]}) as both:
        got = await respond_stream(both.url)
    assert got.names == [e["type"] for e in said]
    assert got.final.pop("wardgate")["action"] == "allow"
    assert got.events == [e | {"sequence_number": n} for n, e in enumerate(said)]


# -- the owner's prompt


@pytest.mark.parametrize(
    ("mode", "given", "sent"),
    [
        ("prepend", {"instructions": "Be brief."}, (f"{OWNER}\n\nBe brief.", "Hi")),
        ("prepend", {}, (OWNER, "Hi")),
        ("replace", {"instructions": "Be brief."}, (OWNER, "Hi")),
        ("only", {}, (OWNER, "Hi")),
    ],
)
async def test_the_owners_prompt_joins_the_instructions(
    mode: str, given: dict[str, Any], sent: tuple[str, str], tmp_path: Path, redis_url: str
) -> None:
    prompt = {"text": OWNER, "mode": mode}
    async with served(echoing, tmp_path, redis_url, system_prompt=prompt) as both:
        await respond(both.url, "Hi", **given)
        asked = both.vllm.requests[0].body
        assert (asked["instructions"], asked["input"]) == sent
        assert asked["model"] == "fake"
        assert both.vllm.requests[0].path == PATH


ITEMS = [
    {"role": "system", "content": "Speak Danish."},
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
    {"role": "user", "content": "Hi"},
    {"role": "system", "content": "Later."},
]


@pytest.mark.parametrize(
    ("mode", "instructions", "left"),
    [("prepend", f"{OWNER}\n\nSpeak Danish.\n\nBe kind.", ITEMS[2:]), ("replace", OWNER, [ITEMS[2]])],
)
async def test_system_items_join_or_go(
    mode: str, instructions: str, left: list[Any], tmp_path: Path, redis_url: str
) -> None:
    async with served(echoing, tmp_path, redis_url, system_prompt={"text": OWNER, "mode": mode}) as both:
        await respond(both.url, ITEMS)
        asked = both.vllm.requests[0].body
        assert (asked["instructions"], asked["input"]) == (instructions, left)


@pytest.mark.parametrize(
    ("given", "more", "param"),
    [
        ("Hi", {"instructions": "Be brief."}, "instructions"),
        (ITEMS, {}, "input[0].role"),
        ([{"role": " Developer ", "content": "x"}], {}, "input[0].role"),
    ],
)
async def test_system_texts_are_refused_where_the_policy_says_only(
    given: Any, more: dict[str, Any], param: str, tmp_path: Path, redis_url: str
) -> None:
    async with served(echoing, tmp_path, redis_url, system_prompt={"text": OWNER, "mode": "only"}) as both:
        error = (await respond(both.url, given, **more)).json()["error"]
        assert (error["code"], error["param"]) == ("system_message_refused", param)
        assert both.vllm.requests == []


@pytest.mark.parametrize("name", ["prompt", "previous_input_messages", "previous_response"])
async def test_nothing_brings_instructions_past_the_owners(name: str, tmp_path: Path, redis_url: str) -> None:
    async with served(echoing, tmp_path, redis_url, system_prompt={"text": OWNER, "mode": "prepend"}) as both:
        more: dict[str, Any] = {name: {"id": "x"}}
        error = (await respond(both.url, **more)).json()["error"]
        assert (error["code"], error["param"]) == ("invalid_request", name)


async def test_nothing_cuts_the_owners_prompt_or_shows_it(tmp_path: Path, redis_url: str) -> None:
    def shows(request: Any) -> Reply:
        said = echoing(request)
        assert isinstance(said.pieces, list)
        body = json.loads(said.pieces[0])
        messages = [{"role": "system", "content": request.body["instructions"]}]
        return Reply([json.dumps(body | {"input_messages": messages, "input": messages}).encode()])

    async with served(shows, tmp_path, redis_url, system_prompt={"text": OWNER, "mode": "prepend"}) as both:
        body = (await respond(both.url, truncation="auto", enable_response_messages=True)).text
        asked = both.vllm.requests[0].body
    assert asked["truncation"] == "disabled"
    assert "enable_response_messages" not in asked
    assert "ACME" not in body


@pytest.mark.parametrize("guards", [(), ({**EMAIL, "stages": ["input"]},)], ids=["guarded", "unguarded"])
@pytest.mark.parametrize("instructions", ["Be brief.", None])
async def test_the_echo_of_the_instructions_is_the_clients(
    guards: tuple[Any, ...], instructions: str | None, tmp_path: Path, redis_url: str
) -> None:
    more = {"instructions": instructions} if instructions else {}
    prompt = {"text": OWNER, "mode": "prepend"}
    async with served(echoing, tmp_path, redis_url, *guards, system_prompt=prompt) as both:
        body = await respond(both.url, **more)
        got = await respond_stream(both.url, **more)
    got.check()
    assert body.json()["instructions"] == instructions
    assert [e["response"]["instructions"] for e in got.events if "response" in e] == [instructions] * 3
    assert "ACME" not in body.text + got.raw


# -- stored answers

KEYS = {"ada": "wg-ada", "bob": "wg-bob"}


def tenants(upstream: str) -> str:
    each = [
        {"name": name, "keys": [f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"], "models": ["assistant"]}
        for name, key in KEYS.items()
    ]
    return with_tenants(document(upstream, EMAIL, CODENAME), *each)


async def test_an_answer_is_continued_by_the_tenant_who_got_it_alone(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm(echoing) as vllm, gateway(tenants(vllm.url), tmp_path, redis_url) as url:
        first = (await respond(url, key=KEYS["ada"], store=True)).json()["id"]
        again = await respond(url, key=KEYS["ada"], previous_response_id=first)
        assert again.status_code == 200
        assert vllm.requests[-1].body["previous_response_id"] == first
        foreign = await respond(url, key=KEYS["bob"], previous_response_id=first)
        unknown = await respond(url, key=KEYS["bob"], previous_response_id="resp_never")
    assert len(vllm.requests) == 2
    for refused in (foreign, unknown):
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (404, "previous_response_not_found")
        assert error["param"] == "previous_response_id"
    assert foreign.json() == unknown.json()


async def test_a_client_cannot_choose_the_id_of_a_stored_answer(tmp_path: Path, redis_url: str) -> None:
    async with served(echoing, tmp_path, redis_url) as both:
        body = (await respond(both.url, request_id="resp_of_somebody_else")).json()
        assert body["id"] == both.vllm.requests[0].body["request_id"] != "resp_of_somebody_else"


async def test_a_blocked_answer_cannot_be_continued(tmp_path: Path, redis_url: str) -> None:
    async with served(whole(message("It is Project Titan."), id="resp_raw"), tmp_path, redis_url) as both:
        body = (await respond(both.url)).json()
        assert body["id"] != "resp_raw"


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/resp_1", (404, "review_not_found")),
        ("POST", "/resp_1/cancel", (404, "unknown_path")),
        ("DELETE", "/resp_1", (405, "method_not_allowed")),
    ],
)
async def test_stored_answers_are_not_handed_out(
    method: str, path: str, said: tuple[int, str], tmp_path: Path, redis_url: str
) -> None:
    async with served(echoing, tmp_path, redis_url) as both, httpx.AsyncClient() as client:
        answer = await client.request(method, both.url + PATH + path)
        assert (answer.status_code, answer.json()["error"]["code"]) == said
        assert both.vllm.requests == []


# -- the flag log


async def test_a_flagged_response_is_kept_with_its_fields(tmp_path: Path, redis_url: str) -> None:
    async with served(saying(f"Write to {MAIL} now."), tmp_path, redis_url) as both:
        got = await respond_stream(both.url)
    async with Redis.from_url(redis_url) as redis:
        flag = await FlagLog(redis).show(got.headers["x-request-id"])
    assert flag is not None
    assert flag["answer"] == {"output[0].content[0].text": f"Write to {MAIL} now."}
    assert flag["verdicts"][0]["field"] == "output[0].content[0].text"
