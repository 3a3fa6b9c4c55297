"""The client of one upstream: picks a replica, keeps the limits of time, retries before the first byte only."""

from __future__ import annotations

import asyncio
import io
import math
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

import aiohttp

from gateway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from gateway.upstream.answer import HTTPAnswer
from gateway.upstream.breaker import Breaker
from gateway.upstream.protocol import ReplicaState
from gateway.upstream.replica import Replica, Replicas

TRIES = 3
KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept: less than uvicorn's (and so vLLM's) 5, or requests would race its close."""
LARGE = 1 << 18
ELSEWHERE = frozenset({502, 503, 504})
"""The replica cannot answer now; another one may."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float = 5.0
    """Until a new connection stands, name lookup and TLS included."""
    read: float = 300.0
    """From asking a replica to the head of its answer."""
    idle: float = 60.0
    """Between two pieces of the body."""


class Attempt:
    """One request to one replica; `connected` tells whether it had to open a connection."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected = False


class AttemptError(Exception):
    """An attempt came to nothing before the first byte of an answer."""

    def __init__(self, error: UpstreamError, *, stale: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.stale = stale
        """The replica had closed a kept-alive connection; says nothing about the replica."""


class Upstream:
    """Implements `ModelServer` over HTTP/1.1."""

    def __init__(
        self,
        base_urls: Sequence[str],
        api_key: str | None = None,
        timeouts: Timeouts | None = None,
        *,
        breaker: Callable[[], Breaker] | None = None,
    ) -> None:
        make = breaker or (lambda: Breaker(time.monotonic))
        self._replicas = Replicas([Replica(url, make()) for url in base_urls])
        self._tries = min(len(base_urls), TRIES)
        self._timeouts = timeouts or Timeouts()
        self._headers = base_headers(api_key)
        self._attempt: ContextVar[Attempt] = ContextVar("attempt")
        self._opened: set[HTTPAnswer] = set()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, socket_factory=self._socket)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            # The waits for the head and for each piece differ; `sock_read` is one for both, so neither uses it.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._timeouts.connect),
        )

    async def close(self) -> None:
        for answer in list(self._opened):
            answer.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def states(self) -> list[ReplicaState]:
        return self._replicas.states()

    async def open(self, path: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> HTTPAnswer:
        tried: list[Replica] = []
        failed: AttemptError | None = None
        while len(tried) < self._tries and (replica := self._replicas.choose(tried)) is not None:
            try:
                answer = await self._ask(replica, method, path, body, headers)
            except AttemptError as failure:
                if not failure.stale or (failed is not None and failed.stale):
                    tried.append(replica)
                failed = failure
                continue
            tried.append(replica)
            if answer.status not in ELSEWHERE or len(tried) == self._tries or not self._another(tried):
                return answer
            answer.release()
        raise self._exhausted(failed) from failed

    def _another(self, tried: list[Replica]) -> bool:
        return self._replicas.choose(tried) is not None

    def _exhausted(self, failed: AttemptError | None) -> UpstreamError:
        if failed is None:
            retry_after = str(max(1, math.ceil(self._replicas.remaining())))
            return UpstreamUnavailable("The upstream is not available.", headers={"retry-after": retry_after})
        failed.error.headers.setdefault("retry-after", "1")
        return failed.error

    async def _ask(
        self, replica: Replica, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> HTTPAnswer:
        if self._session is None:
            raise RuntimeError("the upstream is not started")
        attempt = Attempt()
        self._attempt.set(attempt)
        replica.take()
        try:
            async with asyncio.timeout(self._timeouts.read):
                response = await self._session.request(
                    method, replica.url(path), data=payload(body), headers=headers, allow_redirects=False
                )
        except (aiohttp.ClientError, OSError) as error:
            replica.leave()
            raise self._failure(replica, attempt, error) from error
        except BaseException:
            replica.leave()
            replica.breaker.abandon()
            raise
        return self._answer(replica, response)

    def _answer(self, replica: Replica, response: aiohttp.ClientResponse) -> HTTPAnswer:
        if response.status in ELSEWHERE:
            replica.breaker.fail()
        else:
            replica.breaker.succeed()
        answer = HTTPAnswer(response, replica, self._opened)
        answer.watch(self._timeouts.idle)
        self._opened.add(answer)
        return answer

    def _failure(self, replica: Replica, attempt: Attempt, error: Exception) -> Exception:
        """What a failed attempt means; only an `AttemptError` may be retried."""
        reset = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
        stale = reset and not attempt.connected
        if stale:
            replica.breaker.abandon()
        else:
            replica.breaker.fail()
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return AttemptError(UpstreamTimeout("The upstream did not accept the connection in time."))
        if isinstance(error, TimeoutError):
            return UpstreamTimeout("The upstream did not answer in time.")
        if isinstance(error, aiohttp.ClientResponseError) or half_a_head(error):
            return UpstreamBroken("The upstream's answer is not HTTP.")
        return AttemptError(UpstreamUnavailable("The upstream is not available."), stale=stale)

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        self._attempt.get().connected = True
        return socket.socket(*info[:3])


def base_headers(api_key: str | None) -> dict[str, str]:
    """What every request carries. Answers are wanted uncompressed: near by, bytes are cheaper than time."""
    headers = {"accept-encoding": "identity", "content-type": "application/json", "user-agent": "wardgate"}
    return headers | ({"authorization": f"Bearer {api_key}"} if api_key else {})


def payload(body: bytes) -> bytes | io.BytesIO | None:
    """Large bodies go piece by piece, so that one of them does not hold up all others."""
    if len(body) > LARGE:
        return io.BytesIO(body)
    return body or None


def half_a_head(error: Exception) -> bool:
    """Cut after the first byte; aiohttp then hands over what it has parsed in place of a message."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
