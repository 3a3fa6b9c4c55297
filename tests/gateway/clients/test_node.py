"""OpenAI's own SDK for Node, a program of its own before the gateway."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.clients.model import BAD_CALL, BAD_JSON, BUSY, CUT, GOOD_CALL, JSON, SAYS, SLOW, VECTOR
from tests.gateway.clients.openai_ways import TOOLS, said
from tests.gateway.clients.test_openai_responses import TOOLS as FLAT_TOOLS
from tests.gateway.clients.world import (
    ABSENT,
    BLOCKED_IN,
    BLOCKED_OUT,
    BLOCKED_PROMPT,
    CASES,
    ERROR,
    FORBIDDEN,
    KEY,
    NORMAL,
    ONE_AT_A_TIME,
    REFUSAL,
    REFUSE,
    SINGLE,
    Case,
    World,
)
from tests.gateway.harness import until

HERE = Path(__file__).parent / "node"
UNREACHABLE = re.compile(
    r"E(NOTFOUND|CONNREFUSED|CONNRESET|TIMEDOUT|AI_AGAIN|NETUNREACH|HOSTUNREACH|NOTCACHED|401|403)"
)
"""npm's codes for a registry that is not there."""
CHATS, RESPONSES = ("chat", "stream", "helper"), ("responses", "responsesStream", "responsesHelper")
Ask = dict[str, Any]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the SDK of the lock file in it."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node or npm is not installed (Debian: apt-get install nodejs npm)")
    folder = tmp_path_factory.mktemp("node")
    for file in HERE.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    words = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip("npm cannot reach its registry")
    assert done.returncode == 0, done.stderr
    return folder


def ask(way: str, prompt: str, model: str = REFUSE, key: str = KEY, retries: int = 0, **more: Any) -> Ask:
    given: dict[str, Any] = {"messages": said(prompt)}
    if way.startswith(("responses", "embeddings", "moderations")):
        given = {"input": prompt}
    elif way == "completions":
        given = {"prompt": prompt}
    return {"way": way, "key": key, "retries": retries, "body": {"model": model, **given, **more}}


async def answers(node: Path, world: World, *asks: Ask) -> list[Any]:
    """What the SDK makes of each, one after the other."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec("node", "ask.mjs", cwd=node, stdin=pipe, stdout=pipe, stderr=pipe)
    given = json.dumps({"base": world.base, "asks": asks}).encode()
    async with asyncio.timeout(60):
        out, err = await child.communicate(given)
    assert child.returncode == 0, err.decode()
    said: list[Any] = json.loads(out)
    return said


def check_error(told: Any, kind: str, status: int | None, code: str | None) -> None:
    assert (told.get("error"), told.get("documented")) == (kind, True), told
    assert (told.get("status"), told.get("code")) == (status, code)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_answer_reads_as_it_should(case: Case, node: Path, world: World) -> None:
    chat, stream, helper, whole, events, response, text = await answers(
        node, world, *(ask(way, case.prompt) for way in (*CHATS, *RESPONSES, "completions"))
    )
    end = "content_filter" if case.blocked else "stop"
    assert (chat["text"], chat["end"], chat["action"]) == (case.whole, end, case.action)
    assert (stream["text"], stream["end"], stream["action"]) == (case.streamed, end, case.action)
    assert (helper["text"], helper["end"], helper["action"]) == (case.streamed, end, case.action)
    assert (text["text"], text["end"], text["action"]) == (case.whole, end, case.action)
    end = "incomplete" if case.blocked else "completed"
    assert (whole["text"], whole["end"], whole["action"]) == (case.whole, end, case.action)
    for streamed in (events, response):
        assert (streamed["text"], streamed["end"], streamed["action"]) == (case.streamed, end, case.action)


async def test_what_is_blocked_is_a_bad_request_under_error(node: Path, world: World) -> None:
    told = await answers(
        node,
        world,
        *(ask(way, BLOCKED_IN.prompt, ERROR, retries=2) for way in (*CHATS, *RESPONSES, "completions")),
        *(ask(way, BLOCKED_OUT.prompt, ERROR) for way in ("chat", "responses", "completions", "parse")),
        *(ask("embeddings", BLOCKED_PROMPT, model) for model in (REFUSE, ERROR)),
        ask("stream", BLOCKED_OUT.prompt, ERROR),
    )
    *errors, late = told
    for error in errors:
        check_error(error, "BadRequestError", 400, "content_filter")
        assert error["request"]
        assert "Titan" not in error["message"]
    assert (late["text"], late["end"]) == (BLOCKED_OUT.streamed, "content_filter")


async def test_tool_calls_come_and_blocked_ones_are_refusals(node: Path, world: World) -> None:
    chat, stream, helper = await answers(node, world, *(ask(way, GOOD_CALL, tools=TOOLS) for way in CHATS))
    calls = [["fetch", SAYS[GOOD_CALL]], ["wait", "{}"]]
    assert chat["calls"] == stream["calls"] == helper["calls"] == helper["done"] == calls
    for told in await answers(node, world, *(ask(way, BAD_CALL, tools=TOOLS) for way in CHATS)):
        assert (told["text"], told["end"], told["calls"]) == (REFUSAL, "content_filter", [])
    for told in await answers(node, world, *(ask(way, GOOD_CALL, tools=FLAT_TOOLS) for way in RESPONSES)):
        assert (told["end"], told["calls"]) == ("completed", calls[:1])
    for told in await answers(node, world, *(ask(way, BAD_CALL, tools=FLAT_TOOLS) for way in RESPONSES)):
        assert (told["text"], told["end"], told["calls"]) == (REFUSAL, "incomplete", [])


async def test_parsed_answers_are_objects_and_blocked_ones_the_sdk_s_own_error(node: Path, world: World) -> None:
    parsing, responding = ("parse", "parseStream"), ("responsesParse", "responsesParseStream")
    for told in await answers(node, world, *(ask(way, JSON) for way in (*parsing, *responding))):
        assert told["parsed"] == {"city": "Oslo", "days": 2}
    for prompt in (BLOCKED_PROMPT, BAD_JSON):
        for told in await answers(node, world, *(ask(way, prompt) for way in parsing)):
            check_error(told, "ContentFilterFinishReasonError", None, None)
        whole, streamed = await answers(node, world, *(ask(way, prompt) for way in responding))
        assert (whole["end"], whole["parsed"]) == ("incomplete", None)
        if prompt == BLOCKED_PROMPT:
            assert (streamed["end"], streamed["parsed"]) == ("incomplete", None)
        else:  # this helper parses what it got of a text, cut or not
            check_error(streamed, "OpenAIError", None, None)


async def test_errors_are_the_documented_ones(node: Path, world: World) -> None:
    ways = (*CHATS, *RESPONSES)
    for told in await answers(node, world, *(ask(way, NORMAL.prompt, ABSENT) for way in ways)):
        check_error(told, "InternalServerError", 503, "upstream_unavailable")
    for told in await answers(node, world, *(ask(way, NORMAL.prompt, key=FORBIDDEN, retries=2) for way in ways)):
        check_error(told, "AuthenticationError", 401, "invalid_api_key")
    broken = await answers(node, world, *(ask(way, CUT, retries=2) for way in ways if way not in ("chat", "responses")))
    for told in broken:
        check_error(told, "APIError", None, "upstream_broken")
    first, *limited = await answers(node, world, *(ask(way, NORMAL.prompt, key=SINGLE) for way in ("chat", *ways)))
    assert first["text"] == NORMAL.whole
    for told in limited:
        check_error(told, "RateLimitError", 429, "rate_limit_exceeded")
        assert told["left"] == "0"
        assert told["retryAfter"]


async def test_a_client_that_retries_gets_through(node: Path, world: World) -> None:
    slow = asyncio.create_task(answers(node, world, ask("chat", SLOW, key=ONE_AT_A_TIME)))
    await until(world.busy)
    turn, busy = await answers(
        node, world, ask("chat", NORMAL.prompt, key=ONE_AT_A_TIME, retries=2), ask("chat", BUSY, retries=1)
    )
    assert (turn["text"], busy["text"]) == (NORMAL.whole, NORMAL.whole)
    assert (await slow)[0]["text"] == "At last."


async def test_vectors_moderations_and_models_are_read(node: Path, world: World) -> None:
    vectors, moderated, models = await answers(
        node,
        world,
        ask("embeddings", "to ada@example.com"),
        ask("moderations", "How do I sort a list?"),
        ask("models", ""),
    )
    assert vectors == {"vectors": [list(VECTOR)]}
    assert world.vllm.requests[-1].body["input"] == "to [EMAIL]"
    assert moderated == {"flagged": [False]}
    assert models == {"models": [REFUSE, ERROR, ABSENT]}
