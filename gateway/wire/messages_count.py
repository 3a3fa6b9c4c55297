"""The answer of `/v1/messages/count_tokens`: numbers, in which there is nothing to judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.errors import UpstreamBroken
from gateway.wire.judge import Judge
from gateway.wire.nested import check_keys
from gateway.wire.surface import Track


@dataclass(slots=True)
class CountAnswer:
    """Implements `AnswerFilter`. There is no stream of it."""

    judge: Judge
    guarded: bool = False
    done: bool = True
    clean: bool = True
    over: bool = True
    held: int = 0

    def whole(self, body: dict[str, Any]) -> tuple[bool, list[int]]:
        if type(body.get("input_tokens")) is not int or not numbers_only(body):
            raise UpstreamBroken("The upstream sent a count of tokens of unknown shape.")
        check_keys(body, self.judge.acts_on)
        return False, []

    def refuse_whole(self, body: dict[str, Any], choices: Iterable[int]) -> None:
        """Numbers are not blocked."""

    def frame(self, payload: bytes, out: list[bytes]) -> list[int]:
        raise UpstreamBroken("The upstream sent a stream in place of a count of tokens.")

    def hold(self, choices: Sequence[int]) -> None:
        """Nor held."""

    def refuse(self, choices: Sequence[int], out: list[bytes]) -> None:
        """Numbers are not blocked."""

    def flush(self, out: list[bytes]) -> list[int]:
        return []

    def ending(self) -> bytes:
        return b""

    def without(self, data: bytes, choices: Sequence[int]) -> bytes:
        return data

    def finished(self) -> frozenset[int]:
        return frozenset({0})

    def tracks(self) -> Iterator[Track]:
        return iter(())

    def untold(self) -> dict[str, str]:
        return {}

    def watch(self) -> None:
        """There is no text."""


def numbers_only(node: dict[str, Any]) -> bool:
    return all(numbers_only(v) if isinstance(v, dict) else isinstance(v, int | None) for v in node.values())
