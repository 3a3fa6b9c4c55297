"""What model servers send that they should not: an error that says so, or a right answer; never a hang."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fakes import (
    ABORT,
    CLOSE,
    FOREVER,
    Piece,
    chat_frame,
    chat_frames,
    chat_json,
    frame,
    head,
    raw_head,
    raw_server,
)
from tests.gateway.server import Answer, Memory, gateway

MB = 1 << 20
SSE = ("content-type: text/event-stream", "connection: close")
JSON = ("content-type: application/json", "connection: close")
HELLO = chat_frame({"role": "assistant", "content": "hello"})
END = chat_frame({"content": ""}, finish="stop")
DONE = b"data: [DONE]\n\n"
MODES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
MODELS = pytest.mark.parametrize("model", ["guarded", "plain"])


async def ask(folder: Path, redis_url: str, script: Sequence[Piece], *, stream: bool, model: str = "guarded") -> Answer:
    """The gateway's answer when the upstream sends exactly these pieces."""
    async with raw_server(script) as raw, gateway(folder, redis_url, raw.url) as gate:
        return await gate.ask(stream=stream, model=model)


def sse(*pieces: Piece) -> list[Piece]:
    return [raw_head(*SSE), *pieces, CLOSE]


def whole(body: bytes, *headers: str, status: str = "200 OK") -> list[Piece]:
    return [raw_head(*(headers or JSON), status=status), body, CLOSE]


BROKEN_STREAMS: dict[str, tuple[list[Piece], str]] = {
    "stalls": ([HELLO, FOREVER], "upstream_timeout"),
    "stalls within a frame": ([HELLO, b'data: {"id', FOREVER], "upstream_timeout"),
    "half a frame": ([HELLO, HELLO[:40]], "upstream_broken"),
    "closes unfinished": ([HELLO], "upstream_broken"),
    "resets": ([HELLO, 0.1, ABORT], "upstream_broken"),
    "no JSON": ([HELLO, b"data: hello\n\n"], "upstream_broken"),
    "empty data": ([HELLO, b"data:\n\n"], "upstream_broken"),
    "NaN": ([HELLO, b'data: {"choices": [], "x": NaN}\n\n'], "upstream_broken"),
    "invalid UTF-8": ([HELLO, b'data: {"choices": [], "x": "\xff"}\n\n'], "upstream_broken"),
    "a list": ([HELLO, b"data: []\n\n"], "upstream_broken"),
    "no choices": ([HELLO, b'data: {"hello": 1}\n\n'], "upstream_broken"),
    "choices null": ([HELLO, b'data: {"choices": null}\n\n'], "upstream_broken"),
    "choice text": ([HELLO, b'data: {"choices": ["hi"]}\n\n'], "upstream_broken"),
    "index text": ([HELLO, b'data: {"choices": [{"index": "0"}]}\n\n'], "upstream_broken"),
    "unknown lines": ([HELLO, b"hello: world\n\n"], "upstream_broken"),
    "HTML": ([HELLO, b"<html>\n\n</html>\n\n"], "upstream_broken"),
    "error frame": ([HELLO, frame({"error": {"message": "secret CUDA", "code": 500}})], "upstream_error"),
    "error text": ([HELLO, frame({"error": "boom"})], "upstream_error"),
    "a second life": ([HELLO, END, HELLO], "upstream_broken"),
}
GUARDED_ONLY: dict[str, list[Piece]] = {
    "delta text": [HELLO, b'data: {"choices": [{"index": 0, "delta": "hi"}]}\n\n'],
    "content parts": [HELLO, chat_frame({"content": [{"type": "text", "text": "hi"}]})],
    "calls number": [HELLO, chat_frame({"tool_calls": 7})],
    "calls object": [HELLO, chat_frame({"tool_calls": {"index": 0}})],
    "call text": [HELLO, chat_frame({"tool_calls": ["hi"]})],
    "logprobs text": [HELLO, b'data: {"choices": [{"index": 0, "delta": {}, "logprobs": "hi"}]}\n\n'],
    "logprobs number": [HELLO, b'data: {"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [1]}}]}\n\n'],
    "logprobs refusal": [HELLO, b'data: {"choices": [{"index": 0, "delta": {}, "logprobs": {"refusal": 7}}]}\n\n'],
}
UNTIDY = {**BROKEN_STREAMS, **{name: (pieces, "upstream_broken") for name, pieces in GUARDED_ONLY.items()}}


@pytest.mark.parametrize("name", UNTIDY)
async def test_a_stream_that_breaks_ends_with_an_error_frame(tmp_path: Path, redis_url: str, name: str) -> None:
    pieces, code = UNTIDY[name]
    answer = await ask(tmp_path, redis_url, sse(HELLO, 0.1, *pieces[1:]), stream=True)
    assert answer.status == 200
    assert answer.frames[-1] == b"[DONE]"
    last = Answer(200, {}, answer.frames[-2])
    assert last.code == code
    assert b"CUDA" not in answer.body


@pytest.mark.parametrize("name", UNTIDY)
async def test_a_stream_that_breaks_before_its_first_byte_is_an_error(
    tmp_path: Path, redis_url: str, name: str
) -> None:
    pieces, code = UNTIDY[name]
    pieces = [pieces[1], HELLO] if name == "a second life" else pieces[1:]
    answer = await ask(tmp_path, redis_url, sse(*pieces), stream=True)
    if name == "a second life":  # its end has left by then
        assert answer.status in (200, 502)
        return
    assert answer.status == {"upstream_timeout": 504}.get(code, 500 if name == "error frame" else 502)
    assert answer.code == code


@pytest.mark.parametrize("name", BROKEN_STREAMS)
async def test_an_unguarded_stream_that_breaks_ends_too(tmp_path: Path, redis_url: str, name: str) -> None:
    pieces, code = BROKEN_STREAMS[name]
    answer = await ask(tmp_path, redis_url, sse(HELLO, 0.1, *pieces[1:]), stream=True, model="plain")
    assert answer.status == 200
    assert answer.frames[-1] == b"[DONE]"
    if name != "a second life":
        assert Answer(200, {}, answer.frames[-2]).code == code


SOUND_STREAMS: dict[str, list[Piece]] = {
    "as vLLM": [*chat_frames(["hel", "lo"])],
    "no DONE": [HELLO, END],
    "CRLF": [b"".join(chat_frames(["hello"])).replace(b"\n", b"\r\n")],
    "CR": [b"".join(chat_frames(["hello"])).replace(b"\n", b"\r")],
    "CRLF cut": [
        piece
        for p in b"".join(chat_frames(["hello"])).replace(b"\n", b"\r\n").split(b"\r")
        for piece in (p, 0.005, b"\r")
    ][:-1],
    "comments": [b": ping\n\n", HELLO, b":\n\n: ping\n\n", b"\n\n\n", END, b": bye\n\n", DONE],
    "keep-alives": [piece for _ in range(4) for piece in (b": ping\n\n", 0.15)] + [HELLO, END, DONE],
    "no space": [b"".join(chat_frames(["hello"])).replace(b"data: ", b"data:")],
    "events": [b"event: message\nid: 7\nretry: 10\n" + HELLO, END, DONE],
    "data on two lines": [HELLO.replace(b', "choices"', b',\ndata: "choices"'), END, DONE],
    "a byte order mark": [b"\xef\xbb\xbf" + HELLO, END, DONE],
    "more after DONE": [HELLO, END, DONE, HELLO],
    "bytes one by one": [bytes([b]) for b in b"".join(chat_frames(["hello"]))],
    "a chunk without choices": [frame(head("chat.completion.chunk") | {"choices": []}), HELLO, END, DONE],
    "no DONE but blank lines": [HELLO, END, b"\n\n\n"],
}


@MODELS
@pytest.mark.parametrize("name", SOUND_STREAMS)
async def test_a_stream_that_is_merely_unusual_is_answered(
    tmp_path: Path, redis_url: str, name: str, model: str
) -> None:
    answer = await ask(tmp_path, redis_url, sse(*SOUND_STREAMS[name]), stream=True, model=model)
    assert answer.status == 200
    assert answer.text == "hello"
    assert answer.frames[-1] == b"[DONE]"
    assert answer.frames.count(b"[DONE]") == 1


@MODELS
@pytest.mark.parametrize("ended", [True, False], ids=["whole", "endless"])
async def test_a_frame_of_20_mb_is_refused_in_bounded_memory(
    tmp_path: Path, redis_url: str, model: str, ended: bool
) -> None:
    piece = b"x" * MB
    pieces: list[Piece] = [HELLO, 0.1, b'data: {"choices": [{"index": 0, "delta": {"content": "', *[piece] * 20]
    memory = Memory()
    answer = await ask(tmp_path, redis_url, sse(*pieces, b'"}}]}\n\n' if ended else FOREVER), stream=True, model=model)
    assert Answer(200, {}, answer.frames[-2]).code == "upstream_broken"
    assert memory.grown < 100 * MB


BODIES: dict[str, tuple[list[Piece], int, str]] = {
    "HTML": (whole(b"<html>hello</html>", "content-type: text/html", "connection: close"), 502, "upstream_broken"),
    "HTML as JSON": (whole(b"<html>hello</html>"), 502, "upstream_broken"),
    "no content type": (whole(chat_json("hello"), "connection: close"), 502, "upstream_broken"),
    "a stream": (sse(*chat_frames(["hello"])), 502, "upstream_broken"),
    "nothing": (whole(b""), 502, "upstream_broken"),
    "half": (whole(chat_json("hello")[:50]), 502, "upstream_broken"),
    "cut": (whole(chat_json("hello")[:50], *JSON, "content-length: 500"), 502, "upstream_broken"),
    "a list": (whole(b"[]"), 502, "upstream_broken"),
    "empty object": (whole(b"{}"), 502, "upstream_broken"),
    "choices null": (whole(b'{"choices": null}'), 502, "upstream_broken"),
    "choice text": (whole(b'{"choices": ["hi"]}'), 502, "upstream_broken"),
    "message text": (whole(b'{"choices": [{"index": 0, "message": "hi"}]}'), 502, "upstream_broken"),
    "calls number": (whole(b'{"choices": [{"index": 0, "message": {"tool_calls": 7}}]}'), 502, "upstream_broken"),
    "stalls": ([raw_head(*JSON), b"{", FOREVER], 504, "upstream_timeout"),
    "no head": ([FOREVER], 504, "upstream_timeout"),
    "resets": ([ABORT], 503, "upstream_unavailable"),
    "closes": ([CLOSE], 503, "upstream_unavailable"),
    "resets half-way": ([raw_head(*JSON), b"{", 0.1, ABORT], 502, "upstream_broken"),
    "not HTTP": ([b"hello\r\n\r\n", CLOSE], 502, "upstream_broken"),
    "500 in HTML": (whole(b"<html>oh</html>", "content-type: text/html", status="500 Oh"), 500, "upstream_error"),
    "500 empty": (whole(b"", status="500 Oh"), 500, "upstream_error"),
    "500 list": (whole(b"[1]", status="500 Oh"), 500, "upstream_error"),
    "500 text": (whole(b'{"error": "boom"}', status="500 Oh"), 500, "upstream_error"),
    "404 of FastAPI": (whole(b'{"detail": "Not Found"}', status="404 Not Found"), 404, "upstream_error"),
    "503 in HTML": (whole(b"<html>oh</html>", "content-type: text/html", status="503 Oh"), 503, "upstream_error"),
    "redirect": (whole(b"", "location: /elsewhere", status="302 Found"), 502, "upstream_broken"),
    "no content": (whole(b"", status="204 No Content"), 502, "upstream_broken"),
}
STREAM_SAYS_ELSE = {"a stream", "no head", "resets", "closes", "not HTTP", "redirect", "no content"}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_no_answer_is_an_error(tmp_path: Path, redis_url: str, name: str) -> None:
    script, status, code = BODIES[name]
    answer = await ask(tmp_path, redis_url, script, stream=False)
    assert (answer.status, answer.code) == (status, code)
    assert b"html" not in answer.body


@pytest.mark.parametrize("name", sorted(set(BODIES) - {"a stream"}))
async def test_a_body_in_place_of_a_stream_is_an_error(tmp_path: Path, redis_url: str, name: str) -> None:
    script, status, code = BODIES[name]
    answer = await ask(tmp_path, redis_url, script, stream=True)
    if status < 500 or code != "upstream_broken":
        assert answer.code in (code, "upstream_broken")
    else:
        assert (answer.status, answer.code) == (status, code)


async def test_a_whole_answer_to_a_stream_request_is_an_error(tmp_path: Path, redis_url: str) -> None:
    answer = await ask(tmp_path, redis_url, whole(chat_json("hello")), stream=True)
    assert (answer.status, answer.code) == (502, "upstream_broken")


@MODELS
async def test_a_gzipped_body_is_understood(tmp_path: Path, redis_url: str, model: str) -> None:
    """No gateway asks for it, and some proxies send it all the same."""
    script = whole(gzip.compress(chat_json("mail a@example.com")), *JSON, "content-encoding: gzip")
    answer = await ask(tmp_path, redis_url, script, stream=False, model=model)
    assert answer.status == 200
    said = answer.json["choices"][0]["message"]["content"]
    assert said == ("mail [MAIL]" if model == "guarded" else "mail a@example.com")
    assert "content-encoding" not in answer.headers


@MODELS
async def test_a_gzipped_stream_is_understood(tmp_path: Path, redis_url: str, model: str) -> None:
    data = gzip.compress(b"".join(chat_frames(["hel", "lo"])))
    script: list[Piece] = [raw_head(*SSE, "content-encoding: gzip"), data[:30], 0.05, data[30:], CLOSE]
    answer = await ask(tmp_path, redis_url, script, stream=True, model=model)
    assert answer.text == "hello"


@MODES
async def test_what_says_gzip_and_is_not_is_an_error(tmp_path: Path, redis_url: str, stream: bool) -> None:
    script = [raw_head(*(SSE if stream else JSON), "content-encoding: gzip"), chat_json("hello"), CLOSE]
    answer = await ask(tmp_path, redis_url, script, stream=stream)
    assert (answer.status, answer.code) == (502, "upstream_broken")


@MODELS
async def test_an_answer_without_choices_is_handed_on(tmp_path: Path, redis_url: str, model: str) -> None:
    answer = await ask(tmp_path, redis_url, whole(b'{"id": "x", "choices": []}'), stream=False, model=model)
    assert answer.status == 200
    assert answer.json["choices"] == []


@MODES
async def test_a_refused_connection_is_unavailable(tmp_path: Path, redis_url: str, stream: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with gateway(tmp_path, redis_url, f"http://127.0.0.1:{port}") as gate:
        answer = await gate.ask(stream=stream)
    assert (answer.status, answer.code) == (503, "upstream_unavailable")
    assert "retry-after" in answer.headers


async def test_a_frame_that_is_nested_too_deeply_to_be_judged_ends_the_stream_with_an_error(
    tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    nested = b"[" * 300 + b"]" * 300
    deep = chat_frame({"content": "mail a@example.com "})[:-3] + b', "x": ' + nested + b"}\n\n"
    answer = await ask(tmp_path, redis_url, sse(HELLO, 0.1, HELLO, 0.1, deep, END, DONE), stream=True)
    assert answer.frames[-1] == b"[DONE]"
    assert Answer(200, {}, answer.frames[-2]).code == "upstream_broken"
    assert "example.com" not in caplog.text
