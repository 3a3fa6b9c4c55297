"""The client side of one HTTP/1.1 connection: it keeps (time, bytes) and nothing else, so that it disturbs little."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from time import monotonic_ns
from typing import cast
from urllib.parse import urlsplit

Piece = tuple[int, bytes]
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
CHUNKS_END = b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """`read(request)` resolves to the pieces of one answer, with the time (ns) at which each came."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.pieces: list[Piece] = []
        self._done: asyncio.Future[None] | None = None
        self._tail = b""
        self._size = 0
        self._length: int | None = None
        """Of the whole answer; 0 when it comes in chunks, None while its head is incomplete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it

    def data_received(self, data: bytes) -> None:
        self.pieces.append((monotonic_ns(), data))
        self._tail = (self._tail + data)[-5:] if len(data) < 5 else data[-5:]
        self._size += len(data)
        if self._length is None:
            self._read_head()
        if self._length is None:
            return
        if self._size >= self._length if self._length else self._tail == CHUNKS_END:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._finish()

    async def read(self, request: bytes) -> list[Piece]:
        self.pieces, self._tail, self._size, self._length = [], b"", 0, None
        self._done = asyncio.get_running_loop().create_future()
        if self.transport is None:
            raise ConnectionError("the connection is closed")
        self.transport.write(request)
        await self._done
        return self.pieces

    def _read_head(self) -> None:
        raw = b"".join(d for _, d in self.pieces)
        end = raw.find(b"\r\n\r\n")
        if end >= 0:
            found = LENGTH.search(raw[: end + 2])
            self._length = end + 4 + int(found[1]) if found else 0

    def _finish(self) -> None:
        if self._done and not self._done.done():
            self._done.set_result(None)


async def connect(url: str) -> Connection:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, parts.hostname or "127.0.0.1", parts.port or 80)
    return connection


def render(url: str, path: str, headers: Mapping[str, str], body: object) -> bytes:
    """A whole POST request."""
    parts = urlsplit(url)
    data = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: {parts.netloc}",
        "content-type: application/json",
        f"content-length: {len(data)}",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data
