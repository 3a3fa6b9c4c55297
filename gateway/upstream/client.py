"""The client of one upstream: picks a replica, keeps the limits of time, retries before the first byte only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from gateway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from gateway.upstream.answer import HTTPAnswer
from gateway.upstream.breaker import Breaker
from gateway.upstream.connection import BrokenAnswer, Connection, Disconnected
from gateway.upstream.protocol import ReplicaState
from gateway.upstream.replica import Replica, Replicas

TRIES = 3
JSON_TYPE = b"content-type: application/json\r\n"
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
        self._typeless = base_headers(api_key)
        self._headers = JSON_TYPE + self._typeless
        self._open = False

    async def start(self) -> None:
        self._open = True

    async def close(self) -> None:
        self._open = False
        self._replicas.close()

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
        if not self._open:
            raise RuntimeError("the upstream is not started")
        replica.take()
        connection = replica.pool.take()
        try:
            if connection is None:
                connection = await self._connect(replica)
            common = self._typeless if "content-type" in headers else self._headers
            head = replica.lines(method, path) + common + header_lines(headers, len(body))
            await connection.ask(head, body, self._timeouts.read, self._timeouts.idle)
        except BaseException as error:
            replica.leave()
            if connection is not None:
                connection.abort()
            failure = self._failure(replica, connection, error)
            if failure is None:
                raise
            raise failure from error
        if connection.status in ELSEWHERE:
            replica.breaker.fail()
        else:
            replica.breaker.succeed()
        return HTTPAnswer(connection, replica)

    async def _connect(self, replica: Replica) -> Connection:
        try:
            return await replica.pool.connect(self._timeouts.connect)
        except TimeoutError:
            raise AttemptError(UpstreamTimeout("The upstream did not accept the connection in time.")) from None
        except (OSError, UnicodeError) as error:
            raise AttemptError(UpstreamUnavailable("The upstream is not available.")) from error

    def _failure(self, replica: Replica, connection: Connection | None, error: BaseException) -> Exception | None:
        """What a failed attempt means; only an `AttemptError` may be retried. None: it says nothing of the replica."""
        stale = isinstance(error, Disconnected) and connection is not None and connection.used > 1
        known = isinstance(error, AttemptError | TimeoutError | BrokenAnswer | Disconnected)
        if stale or not known:
            replica.breaker.abandon()
        else:
            replica.breaker.fail()
        if isinstance(error, TimeoutError):
            return UpstreamTimeout("The upstream did not answer in time.")
        if isinstance(error, BrokenAnswer):
            return UpstreamBroken("The upstream's answer is not HTTP.")
        if isinstance(error, Disconnected):
            return AttemptError(UpstreamUnavailable("The upstream is not available."), stale=stale)
        return error if isinstance(error, AttemptError) else None


def base_headers(api_key: str | None) -> bytes:
    """What every request carries. Answers are wanted uncompressed: near by, bytes are cheaper than time."""
    headers = {"accept-encoding": "identity", "user-agent": "wardgate"}
    return encode(headers | ({"authorization": f"Bearer {api_key}"} if api_key else {}))


def header_lines(headers: Mapping[str, str], length: int) -> bytes:
    """The request's own headers, its length and the end of the head."""
    return encode(headers) + b"content-length: %d\r\n\r\n" % length


def encode(headers: Mapping[str, str]) -> bytes:
    """Header lines; ValueError for a value that would end its line."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header value contains a line break")
    return lines.encode("latin-1")
