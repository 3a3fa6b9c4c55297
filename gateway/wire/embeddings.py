"""`/v1/embeddings`: texts go in, as such or as a chat's messages (a form of vLLM's), and vectors come out.

The owner's system prompt is no part of it: it tells a model how to answer, and would only shift the vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.errors import ContentFiltered, InvalidRequest, Unjudged, WardgateError
from gateway.wire.judge import Judge
from gateway.wire.prompt import TextSlot, templated, walk
from gateway.wire.surface import Ask
from guards.policy import SystemPrompt
from guards.verdict import RANK, WITHHELD, Action


class EmbeddingsWire:
    """Implements `Wire`."""

    route = "/v1/embeddings"
    upstream = "/embeddings"

    def check(self, request: dict[str, Any]) -> None:
        if request.get("stream"):
            raise InvalidRequest("Embeddings are not streamed; leave `stream` out.", param="stream")
        given = {name: request[name] for name in ("input", "messages") if request.get(name) is not None}
        if not given:
            raise InvalidRequest("`input` must be a string or an array.", param="input")
        for name, value in given.items():
            if not isinstance(value, list | (str if name == "input" else list)):
                raise InvalidRequest(f"`{name}` is of a type that nothing here can read.", param=name)

    def slots(self, request: dict[str, Any]) -> Iterator[TextSlot]:
        for name in ("input", "messages"):
            if isinstance(request.get(name), str):
                yield TextSlot(request, name, name, request[name], "user")
            elif request.get(name) is not None:
                yield from _each(request[name], name)
        yield from templated(request)

    def question(self, request: dict[str, Any]) -> str:
        return ""

    def for_upstream(self, request: dict[str, Any], prompt: SystemPrompt | None, *, guarded: bool) -> dict[str, Any]:
        return dict(request)

    def refused(self, ask: Ask) -> bytes:
        """No vector could stand for a refusal: it is an error, whatever `on_block` says."""
        acted = [f for f in ask.findings()["findings"] if RANK[Action(f["action"])] >= WITHHELD]
        result = {f["category"]: {"filtered": True, "detected": True} for f in acted}
        raise ContentFiltered("The prompt was blocked by the content policy.", result=result)

    def refused_stream(self, ask: Ask) -> bytes:
        return self.refused(ask)

    def broken(self, error: WardgateError) -> bytes:
        return b""

    def answer(self, ask: Ask, judge: Judge, *, guarded: bool) -> None:
        """Vectors are no text."""


def _each(given: list[Any], path: str) -> Iterator[TextSlot]:
    """Texts, messages, or lists of these. Unjudged where there is something else, such as token ids."""
    for i, value in enumerate(given):
        where = f"{path}[{i}]"
        if isinstance(value, str):
            yield TextSlot(given, i, where, value, "user")
        elif isinstance(value, dict):
            yield from walk(value, where, str(value.get("role", "user")))
        elif isinstance(value, list) and path in ("input", "messages"):  # a batch is not nested further
            yield from _each(value, where)
        else:
            raise Unjudged(
                "This model's policy needs the text of an input: send a string or an array of strings, not token ids.",
                param=where,
            )
