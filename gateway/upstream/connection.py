"""One HTTP/1.1 connection to a model server (RFC 9112), parsed by llhttp: requests out, heads and bodies in.

A general client costs the hot path about as much as all the rest of the gateway (tests/bench/README.md); this one does
what a model server needs and no more: one request at a time, no redirects, no cookies.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import cast

import httptools
from starlette.datastructures import Headers

MAX_HEAD = 64 << 10
"""Bytes of status line and headers, interim answers included."""
HIGH = 256 << 10
"""Bytes that may wait for the reader before the model is told to wait too."""
MAX_UNPACKED = 64 << 20
"""Bytes that one piece of a compressed body may unpack to."""
Take = Callable[[bytes], bool]
"""Takes a piece of a body; False: the next ones are to wait."""
NO_BODY = frozenset({204, 304})
ZIPPED = frozenset({"gzip", "x-gzip", "deflate"})


class BrokenAnswer(Exception):
    """What came is not HTTP, or ended before its end."""


class Disconnected(Exception):
    """The connection was lost before the first byte of an answer."""


class Connection(asyncio.Protocol):
    """`ask()`, then `read()` until nothing comes. `on_idle` hears when it can serve again, `on_lost` when never."""

    __slots__ = (
        "_begun",
        "_eof",
        "_failure",
        "_fields",
        "_head_bytes",
        "_keeps",
        "_listener",
        "_loop",
        "_parser",
        "_paused",
        "_pieces",
        "_released",
        "_size",
        "_spoilt",
        "_timer",
        "_transport",
        "_until_eof",
        "_unzip",
        "_waiter",
        "_waits_since",
        "complete",
        "headers",
        "idle_since",
        "lost",
        "on_idle",
        "on_lost",
        "status",
        "used",
    )

    def __init__(self, on_idle: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self.on_idle = on_idle
        self.on_lost = on_lost
        self.idle_since = 0.0
        self.lost = False
        self.used = 0
        """Requests that it was asked."""
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._eof = False
        self._reset()
        self.complete = True

    def _reset(self) -> None:
        """Ready for the next answer."""
        self.status = 0
        self.headers = Headers(raw=[])
        self.complete = False
        self._parser = httptools.HttpResponseParser(self)
        self._fields: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._size = self._head_bytes = 0
        self._begun = self._until_eof = self._keeps = self._spoilt = self._released = False
        self._failure: Exception | None = None
        self._unzip: zlib._Decompress | None = None
        self._waits_since = 0.0
        self._listener: Take | None = None

    # -- what the client calls

    async def ask(self, request: bytes, body: bytes, seconds: float, idle: float) -> None:
        """Send a request and wait for the head of the answer; it is in `status` and `headers` then.

        Raises TimeoutError past `seconds`, Disconnected, BrokenAnswer. `idle`: seconds that each later piece may take.
        """
        self._reset()
        self.used += 1
        self._write(request, body)
        self._timer = self._loop.call_later(seconds, self._fail, TimeoutError())
        while not self.status:
            await self._wait()
        self._stop_timer()
        if not self.complete:
            self._timer = self._loop.call_later(idle, self._check, idle)

    async def read(self) -> bytes:
        """What has come since the last call, as soon as there is some; nothing at the end of the body.

        Raises TimeoutError when the model stalls, BrokenAnswer when the body is cut or malformed.
        """
        self._waits_since = self._loop.time()
        while not self._pieces:
            if self.complete:
                return b""
            await self._wait()
        pieces = self._pieces
        self._pieces, self._size = [], 0
        if self._paused and not self.lost:
            self._paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def pump(self, take: Take) -> None:
        """Hand each piece to `take` in the callback in which it arrives, which saves a turn of the event loop.

        Returns once `take` wants no more that way, or at the end of the body. Raises as `read()` does.
        """
        self._waits_since = self._loop.time()
        if not self._pieces:
            self._listener = take
        try:
            while self._listener is not None and not self.complete:
                await self._wait()
        finally:
            self._listener = None

    def _deliver(self, take: Take) -> None:
        self._waits_since = self._loop.time()
        pieces = self._pieces
        self._pieces, self._size = [], 0
        if not take(pieces[0] if len(pieces) == 1 else b"".join(pieces)):
            self._listener = None

    def release(self) -> None:
        """The answer is done with: the connection serves again once the last bytes of the body are in."""
        self._released = True
        if self._paused and not self.lost:
            self._paused = False
            self._transport.resume_reading()
        if self.complete:
            self._hand_back()

    def abort(self) -> None:
        """Drop the connection at once. A plain close would first deliver what is still to be sent."""
        self._stop_timer()
        if not self.lost:
            self._transport.abort()
        if not self.complete:
            self._fail(BrokenAnswer("closed"))

    @property
    def ticking(self) -> bool:
        """A limit of time is running."""
        return self._timer is not None and not self._timer.cancelled()

    @property
    def usable(self) -> bool:
        """A new request may be sent."""
        return not self.lost and not self._eof and not self._transport.is_closing()

    def _write(self, request: bytes, body: bytes) -> None:
        if len(body) < HIGH:
            self._transport.write(request + body)
        else:
            self._transport.write(request)
            self._transport.write(body)

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._failure is not None and not self._pieces:
            raise self._failure

    def _check(self, seconds: float) -> None:
        """One timer that looks now and then costs less than one that every piece starts anew."""
        waited = self._loop.time() - self._waits_since if self._waiter is not None else 0.0
        if waited >= seconds - 0.001:
            self._fail(TimeoutError())
        else:
            self._timer = self._loop.call_later(seconds - waited, self._check, seconds)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, failure: Exception) -> None:
        if self._failure is None:
            self._failure = failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _hand_back(self) -> None:
        self._stop_timer()
        sent = self._transport.get_write_buffer_size() == 0
        if self.usable and sent and self._keeps and not self._spoilt:
            self.on_idle(self)
        else:
            self.abort()

    # -- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it

    def data_received(self, data: bytes) -> None:
        if self.complete:  # nobody asked
            self._spoilt = True
            self._transport.abort()
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, zlib.error, BrokenAnswer) as error:
            self._spoilt = True
            if not self.complete:
                self._fail(BrokenAnswer(str(error)))
        if not self._pieces and not self.complete:
            self._head_bytes += len(data)  # of the head, of trailers, of the frame around the next piece
            if self._head_bytes > MAX_HEAD:
                self._fail(BrokenAnswer("its head is too large"))
        else:
            self._head_bytes = 0
        if self._listener is not None and self._pieces:
            self._deliver(self._listener)
        if self._size > HIGH and not self._paused and not self._released:
            self._paused = True
            self._transport.pause_reading()
        if self._listener is None or self.complete:
            self._wake()
        if self.complete and self._released:
            self._hand_back()

    def eof_received(self) -> None:
        self._eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._stop_timer()
        self.on_lost(self)
        if self.complete:
            return
        if not (self._until_eof and self._eof and exc is None):
            self._fail(BrokenAnswer("it broke off") if self._begun else Disconnected("no answer"))
            return
        try:
            self.on_message_complete()
            self._wake()
        except BrokenAnswer as error:
            self._fail(error)

    # -- what the parser calls

    def on_message_begin(self) -> None:
        if self.complete:
            self._spoilt = True  # more than was asked for: nothing that follows can be trusted

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # trailers are no headers
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.complete:
            return
        if 100 <= status < 200:
            self._fields = []
            if status == 101:
                raise BrokenAnswer("it switches protocols")
            return
        self.status = status
        self.headers = Headers(raw=self._fields)
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        self._until_eof = not framed and status not in NO_BODY
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ZIPPED:
            self._unzip = zlib.decompressobj(zlib.MAX_WBITS | 32)
        elif encoding not in ("", "identity"):
            raise BrokenAnswer(f"its encoding {encoding!r} was not asked for")

    def on_body(self, body: bytes) -> None:
        if self._unzip is not None:
            body = self._unzip.decompress(body, MAX_UNPACKED)
            if self._unzip.unconsumed_tail:
                raise BrokenAnswer("it unpacks to too much")
        if body and not self._released and not self.complete:
            self._pieces.append(body)
            self._size += len(body)

    def on_message_complete(self) -> None:
        if not self.status:
            return
        if self._unzip is not None and not self._unzip.eof and self.status not in NO_BODY:
            raise BrokenAnswer("its compressed body is cut")
        self.complete = True
        self._keeps = self._parser.should_keep_alive()
