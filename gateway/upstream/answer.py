"""The answer of a model server behind a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Self

from gateway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from gateway.upstream.connection import BrokenAnswer, Connection, Take
from gateway.upstream.replica import Replica

LINGER = 1.0
"""Seconds that a released answer may take for its last bytes."""


class HTTPAnswer:
    """Implements `Answer`."""

    __slots__ = ("_connection", "_replica", "headers", "status")

    def __init__(self, connection: Connection, replica: Replica) -> None:
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self._connection: Connection | None = connection
        self._replica: Replica | None = replica

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def chunks(self) -> AsyncIterator[bytes]:
        connection = self._connection
        try:
            while connection is not None and (data := await connection.read()):
                yield data
        except (BrokenAnswer, TimeoutError) as error:
            self.close()
            raise body_failure(error) from error

    async def pump(self, take: Take) -> None:
        if self._connection is None:
            return
        try:
            await self._connection.pump(take)
        except (BrokenAnswer, TimeoutError) as error:
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
        connection = self._leave()
        if connection is not None:
            connection.abort()

    def release(self) -> None:
        connection = self._leave()
        if connection is None:
            return
        if not connection.complete:
            # The frame that ends a stream comes before the one that ends the body. The connection goes back to the
            # pool by itself when that arrives; without it, it is dropped.
            asyncio.get_running_loop().call_later(LINGER, drop_unless_complete, connection, connection.used)
        connection.release()

    def _leave(self) -> Connection | None:
        replica, self._replica = self._replica, None
        if replica is not None:
            replica.leave()
        connection, self._connection = self._connection, None
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def drop_unless_complete(connection: Connection, used: int) -> None:
    """By then it may serve another request."""
    if connection.used == used and not connection.complete:
        connection.abort()


def body_failure(error: BaseException) -> UpstreamError:
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream stopped sending in the middle of its answer.")
    return UpstreamBroken("The upstream's answer broke off.")
