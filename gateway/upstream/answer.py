"""The answer of a model server behind a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Self

import aiohttp

from gateway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from gateway.upstream.replica import Replica

LINGER = 1.0
"""Seconds that a released answer may take for its last bytes."""

BODY_FAILURES = (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError)


class HTTPAnswer:
    """Implements `Answer`. Stays in `opened` as long as the connection is its own."""

    def __init__(self, response: aiohttp.ClientResponse, replica: Replica, opened: set[HTTPAnswer]) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._replica: Replica | None = replica
        self._opened = opened
        self._lost: asyncio.Future[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._waits_since: float | None = None
        """When the reader began to wait for the next piece; a client that reads slowly is no fault of the upstream."""

    def watch(self, idle: float) -> None:
        """Sets the limits for the rest of the body, if there is a rest."""
        connection = self._response.connection
        if connection is None or connection.protocol is None:
            return
        # aiohttp closes the connection on a malformed chunk without telling the reader, who would wait for ever.
        self._lost = connection.protocol.closed
        if self._lost is not None:
            self._lost.add_done_callback(self._on_lost)
        self._check_in(idle, idle)

    def _check_in(self, seconds: float, idle: float) -> None:
        """One timer that looks now and then costs less than one that every piece starts anew, as aiohttp's does."""
        self._idle = asyncio.get_running_loop().call_later(seconds, self._check, idle)

    def _check(self, idle: float) -> None:
        waited = time.monotonic() - self._waits_since if self._waits_since is not None else 0.0
        if waited < idle:
            self._check_in(idle - waited, idle)
        elif self._response.content.exception() is None:
            self._response.content.set_exception(TimeoutError())

    def _on_lost(self, lost: asyncio.Future[None]) -> None:
        content = self._response.content
        error = None if lost.cancelled() else lost.exception()
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError(f"connection lost: {error}"))

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def chunks(self) -> AsyncIterator[bytes]:
        content, clock = self._response.content, time.monotonic
        try:
            while True:
                self._waits_since = clock()
                data = await content.readany()
                self._waits_since = None
                if not data:
                    return
                yield data
        except BODY_FAILURES as error:
            self.close()
            raise body_failure(error) from error

    async def read(self, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in self.chunks():
            size += len(piece)
            if size > limit:
                self.close()
                raise UpstreamBroken("The upstream's answer is too large.")
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        self._leave()
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            # Plain close() would first deliver what is still to be sent; a model that reads slowly would go on.
            connection.protocol.abort()
        self._response.close()
        self._opened.discard(self)

    def release(self) -> None:
        self._leave()
        if self._response.closed:
            self._opened.discard(self)
        else:
            # The frame that ends a stream comes before the one that ends the body. The connection goes back to the
            # pool by itself when that arrives; without it, it is dropped.
            asyncio.get_running_loop().call_later(LINGER, self.close)

    def _leave(self) -> None:
        replica, self._replica = self._replica, None
        if replica is not None:
            replica.leave()
        if self._lost is not None:
            self._lost.remove_done_callback(self._on_lost)
            self._lost = None
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._replica is not None:
            self.close()


def body_failure(error: BaseException) -> UpstreamError:
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream stopped sending in the middle of its answer.")
    return UpstreamBroken("The upstream's answer broke off.")
