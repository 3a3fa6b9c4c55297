"""The connections of one replica: those that wait for a request, and how new ones are made."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from urllib.parse import SplitResult, quote

from gateway.upstream.connection import Connection

KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept: less than uvicorn's (and so vLLM's) 5, or requests would race its close."""


class Pool:
    """`take()` a connection, ask it, and it comes back by itself; the one used last is taken first."""

    def __init__(self, url: SplitResult, tls: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> None:
        """`tls` makes the context of `https` connections, once and in a thread: it reads files."""
        self._make_tls = tls
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._secure = url.scheme == "https"
        self._tls: ssl.SSLContext | None = None
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None

    def take(self) -> Connection | None:
        """A connection that stands, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    async def connect(self, seconds: float) -> Connection:
        """A new connection. Raises OSError, or TimeoutError past `seconds`; name lookup and TLS included."""
        if self._secure and self._tls is None:
            self._tls = await asyncio.to_thread(self._make_tls)
        async with asyncio.timeout(seconds):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
            for number, address in enumerate(addresses, 1):
                try:
                    # One that drops packets must not use up the time of those after it.
                    async with asyncio.timeout(seconds / len(addresses)):
                        return await self._connect_to(address)
                except OSError:  # a TimeoutError is one too
                    if number == len(addresses):
                        raise
        raise OSError(f"no address for {self._host}")

    async def _connect_to(self, address: str) -> Connection:
        name = self._host if self._secure else None
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._put, self._drop), address, self._port, ssl=self._tls, server_hostname=name
        )
        self._all.add(connection)
        return connection

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._all):
            connection.abort()

    def _put(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(KEEP_ALIVE, self._expire)

    def _drop(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _expire(self) -> None:
        """Close what has waited too long; the oldest stand first."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._idle and now - self._idle[0].idle_since >= KEEP_ALIVE:
            self._idle.pop(0).abort()
        self._sweep = None
        if self._idle:
            self._sweep = loop.call_later(self._idle[0].idle_since + KEEP_ALIVE - now, self._expire)


def target(url: SplitResult, path: str) -> bytes:
    """The request target (RFC 9112, section 3.2.1) of a path under a base URL, or beside its `/v1`: `/../tokenize`."""
    query = f"?{url.query}" if url.query else ""
    base = url.path.rstrip("/")
    if path.startswith("/../"):
        base, path = base.removesuffix("/v1"), path.removeprefix("/..")
    return quote(f"{base}{path}{query}", safe="/?&=%:@!$'()*+,;~-._").encode()


def authority(url: SplitResult) -> str:
    """What the `host` header says."""
    return url.netloc.rpartition("@")[2]
