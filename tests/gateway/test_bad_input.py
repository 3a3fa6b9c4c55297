"""What clients send that they should not: an error that says so, or a right answer; never a hang, never a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeVLLM, fake_vllm
from tests.gateway.server import Client, Gate, Memory, chat, gateway, request

MB = 1 << 20
FILLER = b"x" * 65536


@dataclass
class House:
    """A gateway and the fake vLLM behind it."""

    gate: Gate
    fake: FakeVLLM

    @property
    def forwarded(self) -> Any:
        """The body that reached the upstream last."""
        return self.fake.requests[-1].body


@pytest.fixture
async def house(tmp_path: Path, redis_url: str) -> AsyncIterator[House]:
    async with fake_vllm() as fake, gateway(tmp_path, redis_url, fake.url, "{body_timeout: 500ms}") as gate:
        yield House(gate, fake)


@pytest.fixture
async def patient(tmp_path: Path, redis_url: str) -> AsyncIterator[Gate]:
    """A gateway that gives a body all the time that it needs."""
    async with fake_vllm() as fake, gateway(tmp_path, redis_url, fake.url) as gate:
        yield gate


NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "blank": b"  \n",
    "half": b'{"model": "guarded", "messages": [',
    "text": b"hello",
    "trailing comma": b'{"model": "guarded",}',
    "two values": chat() + b"{}",
    "NaN": b'{"model": "guarded", "temperature": NaN, "messages": [{"role": "user", "content": "hi"}]}',
    "Infinity": b'{"model": "guarded", "temperature": -Infinity, "messages": [{"role": "user", "content": "hi"}]}',
    "invalid UTF-8": b'{"model": "guarded", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "UTF-8 surrogate": b'{"model": "guarded", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    "lone surrogate": rb'{"model": "guarded", "messages": [{"role": "user", "content": "\ud800"}]}',
    "lone low surrogate": rb'{"model": "guarded", "messages": [{"role": "user", "content": "a\udc00b"}]}',
    "UTF-16": chat().decode().encode("utf-16"),
    "nested deep": b'{"model": "guarded", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NUL": b'{"model": "guarded"\x00}',
}


@pytest.mark.parametrize("name", NOT_JSON)
async def test_a_body_that_is_not_json_is_refused(house: House, name: str) -> None:
    answer = await house.gate.post(NOT_JSON[name])
    assert (answer.status, answer.code) == (400, "invalid_json")
    assert not house.fake.requests


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true"])
async def test_a_body_that_is_no_object_is_refused(house: House, body: bytes) -> None:
    answer = await house.gate.post(body)
    assert (answer.status, answer.code) == (400, "invalid_request")


USER = {"role": "user", "content": "hello"}
WRONG_TYPES: dict[str, tuple[dict[str, Any], str]] = {
    "messages missing": ({"messages": None}, "messages"),
    "messages text": ({"messages": "hello"}, "messages"),
    "messages object": ({"messages": USER}, "messages"),
    "messages empty": ({"messages": []}, "messages"),
    "message text": ({"messages": ["hello"]}, "messages[0]"),
    "message null": ({"messages": [USER, None]}, "messages[1]"),
    "role missing": ({"messages": [{"content": "hello"}]}, "messages[0].role"),
    "role number": ({"messages": [{"role": 1, "content": "hello"}]}, "messages[0].role"),
    "role list": ({"messages": [{"role": ["user"], "content": "hello"}]}, "messages[0].role"),
    "content number": ({"messages": [USER, {"role": "user", "content": 7}]}, "messages[1].content"),
    "content true": ({"messages": [{"role": "user", "content": True}]}, "messages[0].content"),
    "content object": ({"messages": [{"role": "user", "content": {"text": "hi"}}]}, "messages[0].content"),
    "stream text": ({"stream": "yes"}, "stream"),
    "stream number": ({"stream": 1}, "stream"),
    "nested 1,000 deep": ({"messages": [{"role": "user", "content": json.loads("[" * 900 + "]" * 900)}]}, "messages"),
    "n text": ({"n": "two"}, "n"),
    "n true": ({"n": True}, "n"),
    "n zero": ({"n": 0}, "n"),
    "n negative": ({"n": -1}, "n"),
    "n fraction": ({"n": 1.5}, "n"),
    "n list": ({"n": [2]}, "n"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", WRONG_TYPES)
async def test_a_field_of_the_wrong_type_is_named(house: House, name: str, stream: bool) -> None:
    fields, param = WRONG_TYPES[name]
    answer = await house.gate.ask(**({"stream": stream} | fields))
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert str(answer.json["error"]["param"]).startswith(param)
    assert not house.fake.requests


@pytest.mark.parametrize("model", [None, 7, True, [], {}, ["guarded"], "", "nobody", "guarded\x00", "é" * 10_000])
async def test_a_model_that_does_not_exist_is_not_found(house: House, model: object) -> None:
    answer = await house.gate.ask(model=model)
    assert (answer.status, answer.code) == (404, "model_not_found")


async def test_a_request_without_a_model_is_not_found(house: House) -> None:
    answer = await house.gate.post(b'{"messages": [{"role": "user", "content": "hi"}]}')
    assert (answer.status, answer.code) == (404, "model_not_found")


@pytest.mark.parametrize("model", ["guarded", "plain"])
async def test_nesting_1000_deep_in_an_unknown_field_is_refused_or_forwarded(house: House, model: str) -> None:
    deep = json.dumps({"extra": json.loads("[" * 900 + "]" * 900)}).encode()
    answer = await house.gate.post(chat(model=model)[:-1] + b"," + deep[1:])
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_10000_messages_are_answered(house: House) -> None:
    messages = [{"role": "user", "content": f"message {i}"} for i in range(10_000)]
    answer = await house.gate.ask(messages=messages)
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "You said: message 9999"
    assert house.forwarded["messages"] == messages


async def test_of_duplicate_keys_the_judged_one_is_forwarded_alone(house: House) -> None:
    body = (
        b'{"model": "nobody", "model": "guarded", "messages": [{"role": "user", "content": "Project Zebra"}],'
        b' "messages": [{"role": "user", "content": "x@example.com", "content": "mail a@example.com"}]}'
    )
    answer = await house.gate.post(body)
    assert answer.status == 200
    raw = house.fake.requests[-1].raw
    assert raw.count(b'"messages"') == raw.count(b'"content"') == raw.count(b'"model"') == 1
    assert house.forwarded["messages"] == [{"role": "user", "content": "mail [MAIL]"}]
    assert b"example.com" not in raw
    assert b"Zebra" not in raw


async def test_a_duplicate_key_that_hides_a_blocked_text_is_judged(house: House) -> None:
    body = b'{"model": "guarded", "messages": [{"role": "user", "content": "hi", "content": "Project Zebra"}]}'
    answer = await house.gate.post(body)
    assert answer.json["choices"][0]["finish_reason"] == "content_filter"
    assert not house.fake.requests


async def upload(client: Client, sizes: Sequence[int], *, chunked: bool) -> None:
    """Send a body whether or not anyone reads it, as most clients do."""
    with contextlib.suppress(ConnectionError):
        for size in sizes:
            piece = FILLER[:size]
            await client.send(b"%x\r\n%s\r\n" % (size, piece) if chunked else piece)


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_body_of_50_mb_is_refused_in_bounded_memory(patient: Gate, chunked: bool) -> None:
    memory = Memory()
    head = "transfer-encoding: chunked" if chunked else f"content-length: {50 * MB}"
    async with patient.connect() as client:
        await client.send(request(b"", head))
        sending = asyncio.create_task(upload(client, [65536] * 800, chunked=chunked))
        answer = await client.answer()
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert answer.headers["connection"] == "close"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert memory.grown < 80 * MB


async def test_a_body_that_comes_too_slowly_is_given_up(house: House) -> None:
    async with house.gate.connect() as client:
        await client.send(request(b"", "content-length: 1000"))
        dripping = asyncio.create_task(drip(client, b"{" * 100))
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await client.closed()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def drip(client: Client, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        for byte in data:
            await client.send(bytes([byte]))
            await asyncio.sleep(0.05)


async def test_a_body_that_never_comes_is_given_up(house: House) -> None:
    async with house.gate.connect() as client:
        await client.send(request(b"", "content-length: 1000"))
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await client.closed()


async def test_headers_that_come_too_slowly_are_given_up(house: House) -> None:
    async with house.gate.connect() as client:
        dripping = asyncio.create_task(drip(client, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + b"x" * 99))
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await client.closed()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_connection_that_says_nothing_is_closed(house: House) -> None:
    async with house.gate.connect() as client:
        assert await client.closed()


async def test_blank_lines_do_not_keep_a_connection_open(house: House) -> None:
    async with house.gate.connect() as client:
        await client.send(request(chat()))
        assert (await client.answer()).status == 200
        dripping = asyncio.create_task(drip(client, b"\r\n" * 100))
        with contextlib.suppress(ConnectionError):
            assert await client.closed()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_slow_answer_is_no_slow_request(house: House) -> None:
    """The clock of the headers does not run while an answer is on its way, nor on the next request of a connection."""
    async with house.gate.connect() as client:
        for _ in range(2):
            await client.send(request(chat()))
            assert (await client.answer()).status == 200
            await asyncio.sleep(0.7)
        await client.send(request(chat()))
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("size", [70_000, 5 * MB])
async def test_a_huge_header_is_refused(house: House, size: int) -> None:
    async with house.gate.connect() as client:
        with contextlib.suppress(ConnectionError):
            await client.send(request(chat(), "x-large: " + "x" * size, f"content-length: {len(chat())}"))
        answer = await client.answer()
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_many_headers_are_refused(house: House) -> None:
    async with house.gate.connect() as client:
        with contextlib.suppress(ConnectionError):
            await client.send(request(b"", *(f"x-{i}: {'y' * 100}" for i in range(10_000))))
        answer = await client.answer()
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00 hello TLS", b"GET\r\n\r\n", b"SSH-2.0-x\r\n\r\n"])
async def test_what_is_not_http_is_refused(house: House, data: bytes) -> None:
    async with house.gate.connect() as client:
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert await client.closed()


async def test_a_broken_chunk_of_a_body_is_refused(house: House) -> None:
    async with house.gate.connect() as client:
        await client.send(request(b"5\r\n{}{}{}{}\r\nzz\r\n", "transfer-encoding: chunked"))
        answer = await client.answer()
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_length_and_chunks_together_are_refused(house: House) -> None:
    """Two lengths for one body are how requests are smuggled past a gateway."""
    async with house.gate.connect() as client:
        await client.send(request(b"0\r\n\r\n", "content-length: 5", "transfer-encoding: chunked"))
        answer = await client.answer()
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_who_expects_100_continue_gets_it(house: House) -> None:
    body = chat()
    async with house.gate.connect() as client:
        await client.send(request(b"", f"content-length: {len(body)}", "expect: 100-continue"))
        async with asyncio.timeout(2):
            assert (await client.head())[0] == 100
        await client.send(body)
        answer = await client.answer()
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "You said: hello"


async def test_who_expects_100_continue_for_too_much_is_refused_first(house: House) -> None:
    async with house.gate.connect() as client:
        await client.send(request(b"", f"content-length: {50 * MB}", "expect: 100-continue"))
        answer = await client.answer()
    assert (answer.status, answer.code) == (413, "body_too_large")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_pipelined_requests_are_answered_in_order(house: House, stream: bool) -> None:
    said = [chat(messages=[{"role": "user", "content": f"number {i}"}], stream=stream) for i in range(2)]
    async with house.gate.connect() as client:
        await client.send(b"".join(request(body) for body in said))
        answers = [await client.answer() for _ in said]
    for i, answer in enumerate(answers):
        text = answer.text if stream else answer.json["choices"][0]["message"]["content"]
        assert text == f"You said: number {i}"


async def test_garbage_behind_a_request_does_not_enter_its_answer(house: House) -> None:
    async with house.gate.connect() as client:
        await client.send(request(chat()) + b"garbage\r\n\r\n")
        async with asyncio.timeout(5):
            data = await client.reader.read()
    assert data.count(b"HTTP/1.1") <= 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_the_chat_path_takes_post_alone(house: House, method: str) -> None:
    async with house.gate.connect() as client:
        await client.send(request(b"", "content-length: 0", method=method))
        answer = await client.answer()
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


async def test_a_head_request_gets_no_body(house: House) -> None:
    async with house.gate.connect() as client:
        await client.send(request(b"", "content-length: 0", "connection: close", method="HEAD"))
        async with asyncio.timeout(5):
            assert (await client.head())[0] == 405
            assert await client.closed()


async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(house: House) -> None:
    async with house.gate.connect() as client:
        await client.send(request(b"{", "content-length: 1000"))
    answer = await house.gate.ask()
    assert answer.status == 200
