"""Redis scripts that are called at about the same time share one round trip."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

LOG = logging.getLogger(__name__)
Arg = str | bytes | int
LARGEST = 512
"""Calls in one round trip."""
HEAVIEST = 8 << 20
"""Bytes of arguments in one round trip, but for a single call that brings more."""


class Away(Exception):
    """Redis did not answer in time, or refused."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
        """Redis may have got the question, and done what it said."""


@dataclass(frozen=True, slots=True)
class Script:
    """Lua. All keys of a call must lie in one slot of a cluster."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Call:
    script: Script
    keys: Sequence[str]
    args: Sequence[Arg]
    answer: asyncio.Future[Any] | None
    """None: nobody waits for it."""


class Batch:
    """Sends what has come while the last round trip was under way, in the order in which it came.

    A client command costs far more time in this process than in Redis; under load one round trip serves many requests.
    """

    def __init__(
        self,
        redis: Redis,
        patience: float = 0.5,
        backoff: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        what: str = "limits",
    ) -> None:
        """`patience`: seconds that a call waits for Redis; `backoff`: seconds for which none does after that.

        `what`: what is kept there, for the log.
        """
        self._what = what
        self._redis = redis
        self._patience = patience
        self._backoff = backoff
        self._clock = clock
        self._waiting: list[Call] = []
        self._flushing: asyncio.Task[None] | None = None
        self._away_until = float("-inf")
        self._healthy = True
        self._sent: set[str] = set()
        """Scripts that Redis was given."""

    @property
    def away(self) -> bool:
        """Redis failed a moment ago: not worth another try yet."""
        return self._clock() < self._away_until

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """The script's answer; `Away` where Redis does not give it."""
        return await self.ask(script, keys, args)

    def ask(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> asyncio.Future[Any]:
        """The same, for later: the question leaves in this turn of the loop, with all others of it.

        Raises `Away` where it does not leave at all. Cancelled before it has left, it never does.
        """
        if self.away:
            raise Away("Redis is away", sent=False)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._add(Call(script, keys, args, answer))
        return answer

    def tell(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> None:
        """The same without waiting. While Redis is away it is lost."""
        if not self.away:
            self._add(Call(script, keys, args, None))

    async def close(self) -> None:
        """Returns once everything that was told has left."""
        if self._flushing is not None:
            await self._flushing

    def _add(self, call: Call) -> None:
        self._waiting.append(call)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        calls: list[Call] = []
        try:
            while self._waiting:
                calls, self._waiting = cut(self._waiting)
                await self._serve(calls)
        finally:
            self._flushing = None
            lost, self._waiting = [*calls, *self._waiting], []
            for call in lost:  # none, unless this task was stopped: then nobody may wait for ever
                give(call, Away("The gateway stops"))

    async def _serve(self, calls: list[Call]) -> None:
        calls = [call for call in calls if call.answer is None or not call.answer.done()]
        if not calls:
            return
        try:
            async with asyncio.timeout(self._patience):
                answers = await self._send(calls)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            waiting, self._waiting = self._waiting, []
            for call in calls:
                give(call, Away(f"Redis does not answer: {type(error).__name__}"))
            for call in waiting:
                give(call, Away("Redis is away", sent=False))
            return
        self._works()
        for call, answer in zip(calls, answers, strict=True):
            give(call, Away(f"Redis refused: {answer}") if isinstance(answer, Exception) else answer)

    async def _send(self, calls: list[Call]) -> list[Any]:
        await self._load({call.script for call in calls if call.script.sha not in self._sent})
        answers = await self._once(calls)
        forgotten = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if forgotten:
            again = [calls[i] for i in forgotten]
            await self._load({call.script for call in again})
            for i, answer in zip(forgotten, await self._once(again), strict=True):
                answers[i] = answer
        return answers

    async def _load(self, scripts: set[Script]) -> None:
        for script in scripts:
            await self._redis.script_load(script.text)
            self._sent.add(script.sha)

    async def _once(self, calls: list[Call]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for call in calls:
            pipe.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
        found: list[Any] = await pipe.execute(raise_on_error=False)
        return found

    def _failed(self, error: Exception) -> None:
        self._away_until = self._clock() + self._backoff
        if self._healthy:
            LOG.warning("Redis is away, %s cannot be looked up: %s", self._what, type(error).__name__)
        self._healthy = False

    def _works(self) -> None:
        if not self._healthy:
            LOG.info("Redis is back")
        self._healthy = True


def cut(calls: list[Call]) -> tuple[list[Call], list[Call]]:
    """The calls of the next round trip, and the others."""
    size = 0
    for i, call in enumerate(calls[:LARGEST]):
        size += sum(len(arg) for arg in call.args if not isinstance(arg, int))
        if size > HEAVIEST and i:
            return calls[:i], calls[i:]
    return calls[:LARGEST], calls[LARGEST:]


def give(call: Call, answer: Any) -> None:
    """Tell whoever waits."""
    if call.answer is None or call.answer.done():
        return
    if isinstance(answer, Exception):
        call.answer.set_exception(answer)
    else:
        call.answer.set_result(answer)
