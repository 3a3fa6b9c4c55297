"""`/v1/responses`: OpenAI's Responses API, as vLLM serves it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.errors import PreviousResponseNotFound, WardgateError
from gateway.exchange import Exchange
from gateway.wire.judge import Judge
from gateway.wire.prompt import TextSlot, check_common
from gateway.wire.responses import refusal, request
from gateway.wire.responses.answer import ResponsesAnswer
from gateway.wire.responses.events import Teller, frame
from gateway.wire.responses.texts import CHOICE
from gateway.wire.surface import Ask
from guards.lane import Lane
from guards.policy import SystemPrompt
from guards.text.fold import Folder


@dataclass(slots=True)
class ResponsesWire:
    """Implements `Wire`, for one exchange: ids belong to somebody, and events are counted.

    The upstream is asked to give an answer, which it may store, an id that says whose it is (vLLM's `request_id`): no
    replica of the gateway need remember. With `previous_response_id` a tenant reaches its own answers under the same
    policy, and no others.
    """

    owner: str = ""
    own: str = field(default_factory=lambda: secrets.token_hex(16))
    """How the id ends that stands in the place of a withheld answer's, wherever it is told."""
    teller: Teller = field(default_factory=Teller)

    @classmethod
    def of(cls, exchange: Exchange) -> ResponsesWire:
        whose = f"{exchange.tenant}\0{exchange.policy.partition('@')[0]}"
        return cls(hashlib.sha256(whose.encode()).hexdigest()[:16])

    @property
    def route(self) -> str:
        return "/v1/responses"

    @property
    def upstream(self) -> str:
        return "/responses"

    @property
    def prefix(self) -> str:
        """How the ids of the owner's answers begin."""
        return f"resp_{self.owner}_"

    def check(self, asked: dict[str, Any]) -> None:
        request.check_input(asked)
        check_common(asked)
        before = asked.get("previous_response_id")
        if before and not before.startswith(self.prefix):
            raise PreviousResponseNotFound(
                "There is no previous response with this id; send the items of the conversation as `input`.",
                param="previous_response_id",
            )

    def slots(self, asked: dict[str, Any]) -> Iterator[TextSlot]:
        return request.texts(asked)

    def question(self, asked: dict[str, Any]) -> str:
        return request.question(asked)

    def for_upstream(self, asked: dict[str, Any], prompt: SystemPrompt | None, *, guarded: bool) -> dict[str, Any]:
        out = dict(asked) if prompt is None else request.with_system_prompt(asked, prompt)
        out["request_id"] = self.prefix + secrets.token_hex(16)
        if guarded or prompt is not None:
            out.pop("enable_response_messages", None)  # shows prompt and answer as the model sees them
        if guarded and out.get("return_tokens_as_token_ids"):
            out["return_tokens_as_token_ids"] = False  # ids are text that no guard can read
        return out

    def refused(self, ask: Ask) -> bytes:
        head = refusal.head(ask, self.prefix + self.own)
        body = refusal.filtered(head, [refusal.refused_message(ask)])
        return orjson.dumps({**body, "wardgate": ask.findings()})

    def refused_stream(self, ask: Ask) -> bytes:
        out: list[bytes] = []
        nothing = Lane((), None, ())
        self.answer(ask, Judge(nothing, nothing, Folder.new(), "output"), guarded=False).refuse([CHOICE], out)
        return b"".join(out)

    def broken(self, error: WardgateError) -> bytes:
        """The `error` event: flat as OpenAI documents it, and with the `error` object by which its SDK knows one."""
        said = error.body()["error"]
        told = {name: said.get(name) for name in ("code", "message", "param")}
        event = {"type": "error", **told, "sequence_number": self.teller.next, "error": said}
        return frame("error", orjson.dumps(event))

    def answer(self, ask: Ask, judge: Judge, *, guarded: bool) -> ResponsesAnswer:
        return ResponsesAnswer(ask, judge, guarded, self.teller, self.prefix + self.own)
