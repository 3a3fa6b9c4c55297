from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import time
from collections.abc import AsyncIterator

import pytest

from gateway.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnavailable
from gateway.upstream.answer import HTTPAnswer
from gateway.upstream.breaker import Breaker
from gateway.upstream.client import Timeouts, Upstream
from tests.fakes import (
    ABORT,
    CLOSE,
    FOREVER,
    FakeVLLM,
    Reply,
    chat_frames,
    chat_json,
    fake_vllm,
    raw_head,
    raw_server,
    stream,
)

CHAT = "/chat/completions"
HELLO = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
OK = raw_head("content-type: application/json", "content-length: 2") + b"{}"
CHUNKED = raw_head("content-type: text/event-stream", "transfer-encoding: chunked")
SHORT = Timeouts(connect=0.2, read=0.2, idle=0.2)


@contextlib.asynccontextmanager
async def upstream(*urls: str, timeouts: Timeouts | None = None, threshold: int = 5) -> AsyncIterator[Upstream]:
    def breaker() -> Breaker:
        return Breaker(time.monotonic, threshold=threshold, cooldown=0.2)

    async with Upstream([f"{url}/v1" for url in urls], timeouts=timeouts, breaker=breaker) as up:
        yield up
        assert [state.outstanding for state in up.states()] == [0] * len(urls)


async def ask(up: Upstream, body: bytes = HELLO) -> HTTPAnswer:
    return await up.open(CHAT, body, {"x-request-id": "r1"})


async def whole(up: Upstream, body: bytes = HELLO) -> bytes:
    with await ask(up, body) as answer:
        data = await answer.read(10**6)
        answer.release()
        return data


async def until_closed(fake: FakeVLLM) -> float:
    async with asyncio.timeout(2):
        await fake.left.wait()
    return fake.closed[0]


def dead_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


# ---------------------------------------------------------------- the plain way


async def test_an_answer_has_status_headers_type_and_body() -> None:
    async with fake_vllm() as fake, Upstream([f"{fake.url}/v1"], api_key="k") as up, await_answer(up) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert answer.headers["Content-Type"] == "application/json"
        said = json.loads(await answer.read(10**6))["choices"][0]["message"]["content"]
        answer.release()
        assert said == "You said: hello"
        seen = fake.requests[0]
        assert (seen.path, seen.headers["authorization"]) == ("/v1/chat/completions", "Bearer k")
        assert (seen.headers["accept-encoding"], seen.headers["x-request-id"]) == ("identity", "r1")


@contextlib.asynccontextmanager
async def await_answer(up: Upstream) -> AsyncIterator[HTTPAnswer]:
    with await ask(up) as answer:
        yield answer


async def test_pieces_come_as_they_are_sent() -> None:
    frames = chat_frames(["a", "b", "c"])
    async with fake_vllm(stream(frames, gap=0.02)) as fake, upstream(fake.url) as up:
        with await ask(up) as answer:
            assert [piece async for piece in answer.chunks()] == frames
            answer.release()


async def test_a_gzip_answer_is_unpacked() -> None:
    reply = Reply([gzip.compress(chat_json("hi"))], headers={"content-encoding": "gzip"})
    async with fake_vllm(reply) as fake, upstream(fake.url) as up:
        assert await whole(up) == chat_json("hi")


async def test_a_body_over_the_limit_is_refused_and_its_connection_dropped() -> None:
    async with fake_vllm(Reply([b"x" * 50_000, FOREVER])) as fake, upstream(fake.url) as up:
        with await ask(up) as answer, pytest.raises(UpstreamBroken):
            await answer.read(10_000)
        await until_closed(fake)


async def test_errors_of_the_upstream_keep_status_and_body() -> None:
    async with fake_vllm(Reply([b'{"error": {}}'], status=400)) as fake, upstream(fake.url) as up:
        with await ask(up) as answer:
            assert (answer.status, await answer.read(100)) == (400, b'{"error": {}}')


async def test_a_redirect_is_not_followed() -> None:
    async with fake_vllm() as other, fake_vllm(Reply([b""], status=307, headers={"location": other.url})) as fake:
        async with upstream(fake.url) as up:
            with await ask(up) as answer:
                assert answer.status == 307
        assert other.requests == []


# ---------------------------------------------------------------- connections


async def test_connections_are_reused() -> None:
    async with fake_vllm() as fake, upstream(fake.url) as up:
        for _ in range(5):
            await whole(up)
        assert len({request.client for request in fake.requests}) == 1


async def test_a_stream_released_at_its_last_frame_still_reuses_the_connection() -> None:
    reply = stream([*chat_frames(["a"]), 0.05])
    async with fake_vllm(reply) as fake, upstream(fake.url) as up:
        for _ in range(3):
            with await ask(up) as answer:
                async for piece in answer.chunks():
                    if b"[DONE]" in piece:
                        answer.release()
                        break
            await asyncio.sleep(0.1)
        assert len({request.client for request in fake.requests}) == 1
        assert fake.closed == []


async def test_a_released_answer_that_never_ends_is_dropped() -> None:
    async with fake_vllm(stream([b"data: [DONE]\n\n", FOREVER])) as fake, upstream(fake.url) as up:
        with await ask(up) as answer:
            answer.release()
        await until_closed(fake)


# ---------------------------------------------------------------- leaving


async def test_the_upstream_sees_a_close_within_100_ms() -> None:
    async with fake_vllm(stream([*chat_frames(["a"])[:-1], FOREVER])) as fake, upstream(fake.url) as up:
        answer = await ask(up)
        await anext(answer.chunks())
        closed_at = time.monotonic()
        answer.close()
        answer.close()
        assert await until_closed(fake) - closed_at < 0.1
        assert fake.running == 0


async def test_the_upstream_sees_a_cancelled_reader_within_100_ms() -> None:
    async def read_all(up: Upstream) -> None:
        with await ask(up) as answer:
            async for _ in answer.chunks():
                pass

    async with fake_vllm(stream([b"data: {}\n\n", FOREVER])) as fake, upstream(fake.url) as up:
        reading = asyncio.create_task(read_all(up))
        await asyncio.sleep(0.1)
        cancelled_at = time.monotonic()
        reading.cancel()
        assert await until_closed(fake) - cancelled_at < 0.1
        await asyncio.gather(reading, return_exceptions=True)


async def test_the_upstream_sees_a_cancel_before_the_head_within_100_ms() -> None:
    async with fake_vllm(Reply([], before=FOREVER)) as fake, upstream(fake.url) as up:
        asking = asyncio.create_task(ask(up))
        await asyncio.sleep(0.1)
        cancelled_at = time.monotonic()
        asking.cancel()
        assert await until_closed(fake) - cancelled_at < 0.1
        await asyncio.gather(asking, return_exceptions=True)
        assert up.states()[0].breaker == "closed"


# ---------------------------------------------------------------- replicas


async def test_requests_go_to_the_replica_with_the_fewest_outstanding() -> None:
    slow = stream([b"data: {}\n\n", FOREVER])
    async with fake_vllm(slow) as busy, fake_vllm() as idle, upstream(busy.url, idle.url) as up:
        answer = await ask(up)
        while not busy.requests:
            answer.close()
            answer = await ask(up)
        for _ in range(4):
            await whole(up)
        assert len(busy.requests) == 1
        assert [state.outstanding for state in up.states()] == [1, 0]
        answer.close()


async def test_idle_replicas_take_turns() -> None:
    async with fake_vllm() as one, fake_vllm() as two, fake_vllm() as three:
        async with upstream(one.url, two.url, three.url) as up:
            for _ in range(9):
                await whole(up)
        assert [len(fake.requests) for fake in (one, two, three)] == [3, 3, 3]


async def test_a_dead_replica_is_passed_over() -> None:
    async with fake_vllm() as fake, upstream(dead_url(), fake.url) as up:
        for _ in range(4):
            assert b"You said" in await whole(up)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_replica_that_cannot_serve_is_passed_over(status: int) -> None:
    async with fake_vllm(Reply([b"{}"], status=status)) as ill, fake_vllm() as well, upstream(ill.url, well.url) as up:
        for _ in range(4):
            assert b"You said" in await whole(up)


async def test_the_last_refusal_is_handed_on_as_it_came() -> None:
    async with fake_vllm(Reply([b"busy"], status=503)) as fake, upstream(fake.url) as up:
        with await ask(up) as answer:
            assert (answer.status, await answer.read(100)) == (503, b"busy")
        assert len(fake.requests) == 1


async def test_a_reset_before_the_head_goes_to_the_next_replica() -> None:
    async with raw_server([ABORT]) as ill, fake_vllm() as well, upstream(ill.url, well.url) as up:
        for _ in range(3):
            assert b"You said" in await whole(up)
        assert ill.requests


async def test_nothing_is_retried_after_the_first_byte() -> None:
    half = [b"HTTP/1.1 200 OK\r\ncontent-", CLOSE]
    async with raw_server(half) as ill, raw_server([OK]) as well, upstream(ill.url, well.url) as up:
        results = await asyncio.gather(*(whole(up) for _ in range(2)), return_exceptions=True)
    assert sorted(map(type, results), key=str) == [bytes, UpstreamBroken]
    assert (len(ill.requests), len(well.requests)) == (1, 1)


async def test_a_lone_replica_is_asked_again_when_a_kept_connection_was_stale() -> None:
    async with raw_server([OK], [CLOSE], [OK]) as raw, upstream(raw.url) as up:
        assert await whole(up) == b"{}"
        assert await whole(up) == b"{}"
        assert (len(raw.requests), raw.connections) == (3, 2)


async def test_a_lone_replica_is_not_asked_again_when_it_resets_a_fresh_connection() -> None:
    async with raw_server([ABORT]) as raw, upstream(raw.url) as up:
        with pytest.raises(UpstreamUnavailable) as caught:
            await ask(up)
        assert caught.value.headers["retry-after"] == "1"
        assert len(raw.requests) == 1


async def test_at_most_three_replicas_are_tried() -> None:
    async with raw_server([ABORT]) as raw, upstream(raw.url, raw.url, raw.url, raw.url, raw.url) as up:
        with pytest.raises(UpstreamUnavailable):
            await ask(up)
        assert len(raw.requests) == 3


# ---------------------------------------------------------------- breaker


async def test_a_dead_upstream_fails_fast_and_says_when_to_come_back() -> None:
    async with raw_server([ABORT], [ABORT], [OK]) as raw, upstream(raw.url, threshold=2) as up:
        for _ in range(5):
            with pytest.raises(UpstreamUnavailable) as caught:
                await ask(up)
        assert len(raw.requests) == 2
        assert int(caught.value.headers["retry-after"]) >= 1
        assert up.states()[0].breaker == "open"
        await asyncio.sleep(0.25)
        assert up.states()[0].breaker == "half_open"
        assert await whole(up) == b"{}"
        assert up.states()[0].breaker == "closed"


# ---------------------------------------------------------------- time


async def test_a_connection_that_is_not_accepted_times_out() -> None:
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        limits = Timeouts(connect=0.2, read=5, idle=5)
        async with upstream(f"http://127.0.0.1:{full.getsockname()[1]}", timeouts=limits) as up:
            with pytest.raises(UpstreamTimeout):
                await ask(up)


async def test_a_head_that_does_not_come_times_out_and_is_not_retried() -> None:
    async with fake_vllm(Reply([], before=FOREVER)) as fake:
        async with upstream(fake.url, fake.url, timeouts=SHORT) as up:
            with pytest.raises(UpstreamTimeout):
                await ask(up)
            await until_closed(fake)
        assert len(fake.requests) == 1


async def test_a_model_that_does_not_take_the_prompt_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        async with upstream(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeouts=SHORT) as up:
            with pytest.raises(UpstreamTimeout):
                await ask(up, b"x" * 20_000_000)


async def test_the_head_may_take_longer_than_a_gap() -> None:
    limits = Timeouts(connect=1, read=2, idle=0.1)
    async with fake_vllm(Reply([b"{}"], before=0.3)) as fake, upstream(fake.url, timeouts=limits) as up:
        assert await whole(up) == b"{}"


@pytest.mark.parametrize("pieces", [[FOREVER], [b"data: {}\n\n", FOREVER]])
async def test_a_stream_that_stalls_times_out(pieces: list[bytes | float]) -> None:
    limits = Timeouts(connect=5, read=5, idle=0.1)
    async with fake_vllm(stream(pieces)) as fake, upstream(fake.url, timeouts=limits) as up:
        with await ask(up) as answer, pytest.raises(UpstreamTimeout):
            await answer.read(1000)
        await until_closed(fake)


async def test_a_stream_longer_than_all_limits_goes_on_while_pieces_come() -> None:
    limits = Timeouts(connect=0.2, read=0.2, idle=0.2)
    reply = stream([b"x"] * 10, gap=0.05)
    async with fake_vllm(reply) as fake, upstream(fake.url, timeouts=limits) as up:
        assert await whole(up) == b"x" * 10


# ---------------------------------------------------------------- broken answers


@pytest.mark.parametrize(
    "script",
    [
        [CHUNKED, b"5\r\nhello\r\n", CLOSE],
        [CHUNKED, b"5\r\nhello\r\n", 0.05, ABORT],
        [CHUNKED, b"5\r\nhel", CLOSE],
        [CHUNKED, b"5\r\nhello\r\n", 0.05, b"zz\r\nnot a chunk\r\n", FOREVER],
        [raw_head("content-length: 10"), b"hello", CLOSE],
        [raw_head("content-length: 10", "content-encoding: gzip"), b"not a zip!", FOREVER],
    ],
    ids=["no end", "reset", "half a chunk", "bad chunk", "short", "bad gzip"],
)
async def test_a_body_that_breaks_off_is_an_error(script: list[bytes | float]) -> None:
    async with raw_server(script) as raw, upstream(raw.url) as up, asyncio.timeout(2):
        with pytest.raises(UpstreamBroken):
            await whole(up)


async def test_an_answer_that_is_not_http_is_an_error() -> None:
    async with raw_server([b"220 smtp ready\r\n\r\n"]) as raw, upstream(raw.url) as up:
        with pytest.raises(UpstreamBroken):
            await ask(up)


async def test_closing_the_upstream_closes_what_is_open() -> None:
    async with fake_vllm(stream([b"data: {}\n\n", FOREVER])) as fake:
        async with upstream(fake.url) as up:
            answer = await ask(up)
            await up.close()
            with pytest.raises(UpstreamBroken):
                await answer.read(1000)
        await until_closed(fake)
