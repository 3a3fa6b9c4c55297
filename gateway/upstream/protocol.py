"""What the pipeline asks of a model server, be it a socket away or simulated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Literal, NamedTuple, Protocol, Self

BreakerState = Literal["closed", "open", "half_open"]


class ReplicaState(NamedTuple):
    """One replica as the metrics show it."""

    url: str
    breaker: BreakerState
    outstanding: int


class Answer(Protocol):
    """The head of one answer and the way to its body.

    Used as a context manager it is closed on leaving, unless it was released before.
    """

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive. `content-encoding` and `content-length` speak of the wire: the body comes decoded."""

    @property
    def content_type(self) -> str:
        """Media type in lower case without parameters; empty when the upstream named none."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `UpstreamBroken` when it is cut, `UpstreamTimeout` when it stalls."""

    async def pump(self, take: Callable[[bytes], bool]) -> None:
        """Hands pieces to `take` as soon as they arrive, until it returns False or the body ends; raises as `chunks`.

        `take` runs in a callback of the event loop: it must not wait. The rest comes from `chunks`; that may be all.
        """

    async def read(self, limit: int) -> bytes:
        """The whole body; `UpstreamBroken` when it is larger than `limit` bytes."""

    def close(self) -> None:
        """Drops the connection at once, so that the model stops generating."""

    def release(self) -> None:
        """The answer is done with; the connection serves the next request."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class ModelServer(Protocol):
    """One upstream of the config."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def open(self, path: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> Answer:
        """Sends a request; returns with the head of the answer.

        `path` follows the base URL: `/chat/completions`; `/../tokenize` stands beside its `/v1`. The upstream's key and
        the headers that every request has are added; `content-type` is JSON where `headers` do not say another.
        """

    def states(self) -> list[ReplicaState]: ...
