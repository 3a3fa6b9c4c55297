"""HTTP/1.1 as uvicorn speaks it, with bounds on a request's head and OpenAI's error body for what is no HTTP."""

from __future__ import annotations

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.errors import BodyTimeout, InvalidRequest, WardgateError

MAX_HEAD = 64 << 10
"""Bytes of request line and headers."""

LINGER = 1.0
"""Seconds that a refused client has to read its answer."""


class HeadTooLarge(Exception):
    """Stops the parser."""


class HTTP1(HttpToolsProtocol):
    """uvicorn waits for ever for a head, and keeps all of it; this one does neither."""

    head_seconds = 30.0
    """For a request's head to arrive, and for the first byte on a new connection."""
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    """Between the end of one message and the end of the next one's head."""
    _begun = False
    """Some of that head has come."""
    _size = 0
    _deaf = False
    """Refused; what still comes is dropped."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._in_head:
            self._size += len(data)
        super().data_received(data)
        if self._deaf or not self._in_head or self.transport.is_closing():
            return
        if self._begun and self._size > MAX_HEAD:
            self._refuse(too_large())
        elif self._timer is None and (self._begun or not self._answering):
            self._start_timer()

    def on_message_begin(self) -> None:
        self._begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._size > MAX_HEAD and sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            raise HeadTooLarge
        self._in_head = self._begun = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._size = True, 0

    def send_400_response(self, msg: str) -> None:
        large = self._in_head and self._size > MAX_HEAD
        self._refuse(too_large() if large else InvalidRequest("The request is not valid HTTP/1.1."))

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, error: WardgateError) -> None:
        """Answer and close; into an answer that is on its way nothing may be written."""
        if not self._answering or (self.cycle.more_body and not self.cycle.response_started):
            body = orjson.dumps(error.body())
            fields = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[error.status] + fields + body)
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Hang up on our side and let the rest run out: a close upon unread bytes would take the answer with it."""
        self._deaf = True
        self._stop_timer()
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER, self.transport.close)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self._answering:
            self._start_timer()
        elif self._begun:
            self._refuse(BodyTimeout(f"The headers did not arrive within {self.head_seconds:g} seconds."))
        else:
            self.transport.close()


def too_large() -> InvalidRequest:
    return InvalidRequest(f"The headers are larger than the limit of {MAX_HEAD} bytes.")
