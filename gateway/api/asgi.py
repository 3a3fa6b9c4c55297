"""The raw ASGI edge of the hot path: bodies in, bytes out, and an eye on clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, MutableMapping
from contextlib import suppress
from typing import Any

import orjson

from gateway.errors import BodyTimeout, BodyTooLarge, InvalidJSON, InvalidRequest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_HEADER = (b"content-type", b"application/json")
STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
PATIENCE = 0.02
"""Seconds for which nobody watches whether the client is still there."""
DISCARD = 2.0
"""Seconds that a refused body is listened to."""


class ClientGone(Exception):
    """The client left before its answer was complete."""


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return None


async def read_body(scope: Scope, receive: Receive, limit: int, seconds: float) -> bytes:
    """The whole request body, within `limit` bytes and `seconds`."""
    length = header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        if header(scope, b"expect") is None:
            await _discard(receive)
        raise BodyTooLarge(f"The body is larger than the limit of {limit} bytes.")
    message = await receive() if length == "0" else await _timely(receive, seconds)
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return _complete(message, body)
    pieces, size = [body], len(body)
    try:
        async with asyncio.timeout(seconds):
            while message.get("more_body"):
                message = await receive()
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > limit:
                    pieces.clear()
                    await _discard(receive)
                    raise BodyTooLarge(f"The body is larger than the limit of {limit} bytes.")
    except TimeoutError:
        raise BodyTimeout(f"The body did not arrive within {seconds:g} seconds.") from None
    return _complete(message, b"".join(pieces))


async def _discard(receive: Receive) -> None:
    """Let a refused body run out for a while: a close upon unread bytes would take the answer with it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD):
            while (await receive()).get("more_body"):
                pass


async def _timely(receive: Receive, seconds: float) -> Message:
    try:
        async with asyncio.timeout(seconds):
            return await receive()
    except TimeoutError:
        raise BodyTimeout(f"The body did not arrive within {seconds:g} seconds.") from None


def _complete(message: Message, body: bytes) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    return body


def parse_object(body: bytes) -> dict[str, Any]:
    """The request as an object; InvalidJSON says where it went wrong, without repeating any of it."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJSON(
            f"The body is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


async def send_bytes(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length_of(body)]})
    await send({"type": "http.response.body", "body": body})


def length_of(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


def encode_headers(pairs: Iterable[tuple[str, str]]) -> Headers:
    return [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in pairs]


class ClientWatch:
    """Cancels the block when the client disconnects, and raises ClientGone in its place.

    Most answers are there before `PATIENCE` is over, and need no task that watches.
    """

    __slots__ = ("_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._start)

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        if cancelled and self._gone and self._task is not None and not self._task.uncancel():
            raise ClientGone from None


class Begun:
    """A coroutine begun outside any task. Most sends end there and then; `await` takes the others to their end."""

    __slots__ = ("_coroutine", "_yielded")

    def __init__(self, coroutine: Coroutine[object, None, None], yielded: object) -> None:
        self._coroutine = coroutine
        self._yielded = yielded

    @classmethod
    def start(cls, coroutine: Coroutine[object, None, None]) -> Begun | None:
        """None where nothing is left to wait for."""
        try:
            return cls(coroutine, coroutine.send(None))
        except StopIteration:
            return None

    def __await__(self) -> Generator[object, None, None]:
        try:
            yield self._yielded  # the future for which it waits: what a task gets to see of a coroutine (PEP 492)
        except BaseException as error:
            self._coroutine.throw(error)
            raise
        yield from self._coroutine.__await__()
