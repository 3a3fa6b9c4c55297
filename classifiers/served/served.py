"""A guard behind vLLM as a classifier: bounded in time, in requests at once and in requests that wait."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

import httpx

from classifiers.classifier import ClassifierError, Sample, Scores
from classifiers.served.family import Ask, Family

REVISION = 1
"""Raised with every change of a prompt, a grammar or a mapping."""
NONE: Mapping[str, float] = MappingProxyType({})
KEPT_ALIVE = 2.0
"""Seconds that an idle connection is kept: less than vLLM does, so that none is used that it is just closing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a served classifier may take."""

    concurrent: int = 16
    """Requests at once."""
    waiting: int = 512
    """That may wait for that, or run. One more is refused (`queue_full`)."""
    timeout: float = 10.0
    """Seconds for a request, once it is its turn."""
    window: int = 12_000
    """Characters of a text that go into one request. A longer one is cut into windows that overlap by an eighth."""


class Served:
    """Implements `Classifier`. A text of several windows scores as its worst one."""

    def __init__(self, family: Family, model: str, client: httpx.AsyncClient, limits: Limits | None = None) -> None:
        self.name = family.name
        self.version = f"{model}/{digest(family)}"
        self.categories = family.categories
        self.thresholds = NONE
        self._family = family
        self._model = model
        self._client = client
        self._limits = limits or Limits()
        self._slots = asyncio.Semaphore(self._limits.concurrent)
        self._waiting = 0

    @classmethod
    def at(
        cls, base_url: str, model: str, family: Family, *, api_key: str | None = None, limits: Limits | None = None
    ) -> Self:
        """With a client of its own, for `close()` to close."""
        limits = limits or Limits()
        return cls(family, model, connect(base_url, api_key, limits.timeout), limits)

    async def close(self) -> None:
        await self._client.aclose()

    async def classify(self, samples: Sequence[Sample]) -> list[Scores]:
        """ClassifierError `parse`, `timeout`, `unavailable` or `queue_full`: one sample that fails fails all."""
        pieces = {s: windows(s, self._limits.window) for s in dict.fromkeys(samples)}
        asks = [(piece, self._family.asks(piece)) for each in pieces.values() for piece in each]
        bodies = iter(await self._post_all([ask for _, each in asks for ask in each]))
        found = [self._family.scores(piece, [next(bodies) for _ in each]) for piece, each in asks]
        at = iter(found)
        worst = {s: highest([next(at) for _ in each]) for s, each in pieces.items()}
        return [worst[s] for s in samples]

    async def _post_all(self, asks: Sequence[Ask]) -> list[bytes]:
        if self._waiting and self._waiting + len(asks) > self._limits.waiting:
            raise ClassifierError("too many requests wait for the guard", "queue_full")
        self._waiting += len(asks)
        tasks = [asyncio.create_task(self._post(ask)) for ask in asks]
        try:
            return await asyncio.gather(*tasks)
        finally:
            self._waiting -= len(asks)
            for task in tasks:
                task.cancel()

    async def _post(self, ask: Ask) -> bytes:
        async with self._slots:
            try:
                async with asyncio.timeout(self._limits.timeout):
                    reply = await self._client.post(ask.path, json={"model": self._model, **ask.body})
            except (TimeoutError, httpx.TimeoutException):
                raise ClassifierError(f"the guard did not answer in {self._limits.timeout:g} s", "timeout") from None
            except httpx.RequestError as error:
                raise ClassifierError(f"the guard is out of reach: {type(error).__name__}", "unavailable") from None
        if reply.status_code != 200:
            # Not the body: it may quote the judged text.
            raise ClassifierError(f"the guard's server answered {reply.status_code}", "unavailable")
        return reply.content


def connect(base_url: str, api_key: str | None, timeout: float) -> httpx.AsyncClient:
    """A client of the vLLM at `base_url`, which may end in `/v1` or not."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/").removesuffix("/v1"),
        headers=headers,
        timeout=timeout,  # of each read; `Served` bounds the whole
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT_ALIVE),
        trust_env=False,
    )


def digest(family: Family) -> str:
    """Changes with the family's settings."""
    return hashlib.sha256(f"{REVISION} {family!r}".encode()).hexdigest()[:8]


def windows(sample: Sample, size: int) -> list[Sample]:
    overlap = size // 8
    starts = range(0, max(len(sample.text) - overlap, 1), size - overlap)
    return [replace(sample, text=sample.text[start : start + size]) for start in starts]


def highest(scores: Sequence[Scores]) -> Scores:
    return {name: max(each[name] for each in scores) for name in scores[0]}
