"""What a surface tells the one path that all share: how its requests are read, and how its answers pass the guards.

`Wire` is stateless, one for each route. `AnswerFilter` follows one answer, streamed or whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from gateway.errors import WardgateError
from gateway.wire.judge import Judge
from gateway.wire.prompt import TextSlot
from gateway.wire.written import Written
from guards.policy import SystemPrompt


@dataclass(frozen=True, slots=True)
class Ask:
    """What a surface must know of an exchange to answer it."""

    request: dict[str, Any]
    id: str
    """The exchange's id."""
    model: str
    """The name that the application asked for."""
    tell: Callable[[], str]
    """What stands in the place of an answer that may not leave: the refusal, or that a person will look."""
    findings: Callable[[], dict[str, Any]]
    """The answer's `wardgate` object, as of now."""
    hide_prompt: bool
    """The owner has a system prompt: no field may repeat the prompt."""

    @property
    def refusal(self) -> str:
        return self.tell()


class Track(NamedTuple):
    """A text that the model is writing."""

    choice: int
    field: str
    """Where it stands in a whole answer: `choices[0].message.content`."""
    written: Written


class AnswerFilter(Protocol):
    """Filters one answer. Choices are numbered; a surface without choices has one, 0."""

    judge: Judge
    guarded: bool
    """False: no guard judges the answer, which is only followed to its end."""
    done: bool
    """The stream is over, or nothing more of it is wanted."""
    clean: bool
    """The upstream ended its stream itself: its connection can serve again."""

    @property
    def over(self) -> bool:
        """Every choice has ended, by itself or by a block."""

    @property
    def held(self) -> int:
        """Characters taken in and not let go."""

    def whole(self, body: dict[str, Any]) -> tuple[bool, list[int]]:
        """Filter a whole answer in place: whether it changed, and the choices that are blocked."""

    def refuse_whole(self, body: dict[str, Any], choices: Iterable[int]) -> None:
        """Put the refusal in the place of these choices."""

    def frame(self, payload: bytes, out: list[bytes]) -> list[int]:
        """Filter a frame: what may leave goes to `out`; the choices that are blocked now, and wait for `refuse`."""

    def refuse(self, choices: Sequence[int], out: list[bytes]) -> None:
        """End these choices with the refusal. Also for choices that a guard blocked from outside."""

    def hold(self, choices: Sequence[int]) -> None:
        """Nothing more of these choices leaves; `refuse` will end them later."""

    def flush(self, out: list[bytes]) -> list[int]:
        """Judge what the upstream left without an end; as `frame`."""

    def ending(self) -> bytes:
        """The frames after every choice: usage, `[DONE]`."""

    def without(self, data: bytes, choices: Sequence[int]) -> bytes:
        """Frames of `frame` that waited: without these choices, and with all that was found since."""

    def finished(self) -> frozenset[int]:
        """Choices that the model ended itself."""

    def tracks(self) -> Iterator[Track]:
        """Every text of the answer so far."""

    def untold(self) -> dict[str, str]:
        """Field -> what the model wrote there since the last call, for the flag log."""

    def watch(self) -> None:
        """Show the whole texts to the monitored guards."""


class Wire(Protocol):
    """One surface."""

    @property
    def route(self) -> str:
        """Path of the gateway: `/v1/chat/completions`."""

    @property
    def upstream(self) -> str:
        """Path below the upstream's base URL: `/chat/completions`."""

    def check(self, request: dict[str, Any]) -> None:
        """InvalidRequest where the gateway cannot read it; what else is wrong the upstream says in its own words."""

    def slots(self, request: dict[str, Any]) -> Iterator[TextSlot]:
        """Every text that the client wrote and the model reads."""

    def question(self, request: dict[str, Any]) -> str:
        """What the user said last: the context that answers are judged in."""

    def for_upstream(self, request: dict[str, Any], prompt: SystemPrompt | None, *, guarded: bool) -> dict[str, Any]:
        """The request as the model server gets it, but for the model's name. `guarded`: the answer will be judged."""

    def refused(self, ask: Ask) -> bytes:
        """The whole answer to a blocked prompt."""

    def refused_stream(self, ask: Ask) -> bytes:
        """The same as a stream."""

    def broken(self, error: WardgateError) -> bytes:
        """The end of a stream that an error cuts short."""

    def answer(self, ask: Ask, judge: Judge, *, guarded: bool) -> AnswerFilter | None:
        """None: the answer holds no text, and leaves as it came."""
