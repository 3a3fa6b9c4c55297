"""However an exchange ends, what was flagged in it is in the flag log."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from tests.fakes import CLOSE, Piece, Reply, chat_frame, fake_vllm, raw_head, raw_server, stream
from tests.gateway.harness import CODENAME, EMAIL, ask, ask_stream, document, gateway

MAIL = "I am ada@example.com"


async def test_a_stream_blocked_before_its_first_byte_is_kept(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    script = stream([chat_frame({"role": "assistant", "content": "Project Falcon is ready."})])
    async with (
        fake_vllm(script) as vllm,
        gateway(document(vllm.url, CODENAME, on_block="error"), tmp_path, redis_url) as url,
    ):
        got = await ask_stream(url)
        kept = await FlagLog(redis).show(got.headers["x-request-id"])
    assert got.status == 400
    assert kept is not None
    assert (kept["action"], kept["outcome"]) == ("block", "content_filter")


@pytest.mark.parametrize("status", [503, 400])
async def test_a_flagged_prompt_is_kept_where_the_upstream_fails(
    tmp_path: Path, redis_url: str, redis: Redis, status: int
) -> None:
    async with (
        fake_vllm(Reply([b'{"error": {"message": "no"}}'], status=status)) as vllm,
        gateway(document(vllm.url, EMAIL), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, MAIL)
        kept = await FlagLog(redis).show(answer.headers["x-request-id"])
    assert answer.status_code == status
    assert kept is not None
    assert (kept["action"], kept["outcome"]) == ("redact", "upstream_error")
    assert "ada@example.com" in str(kept["request"])


async def test_what_was_found_before_a_stream_broke_is_kept(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    first = chat_frame({"role": "assistant", "content": "Hello. "})
    pieces: list[Piece] = [raw_head("content-type: text/event-stream", "connection: close"), first, 0.1]
    broken = chat_frame({"content": f"{MAIL}, and "}) + b"data: no JSON\n\n"
    async with (
        raw_server([*pieces, first, 0.1, broken, CLOSE]) as raw,
        gateway(document(raw.url, EMAIL), tmp_path, redis_url) as url,
    ):
        got = await ask_stream(url)
        kept = await FlagLog(redis).show(got.headers["x-request-id"])
    assert got.chunks[-1]["error"]["code"] == "upstream_broken"
    assert kept is not None
    assert kept["outcome"] == "upstream_broken"
    assert "ada@example.com" in str(kept["answer"])
