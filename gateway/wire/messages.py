"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's Messages API, which vLLM serves itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from gateway.errors import ContentFiltered, InvalidRequest, WardgateError
from gateway.wire import messages_frames as frames
from gateway.wire import messages_prompt as prompts
from gateway.wire.judge import Judge
from gateway.wire.messages_answer import MessagesAnswer
from gateway.wire.messages_count import CountAnswer
from gateway.wire.messages_error import error_body
from gateway.wire.prompt import TextSlot, kept_readable
from gateway.wire.surface import AnswerFilter, Ask
from guards.policy import SystemPrompt
from guards.verdict import RANK, Action


class MessagesWire:
    """Implements `Wire`."""

    route = "/v1/messages"
    upstream = "/messages"

    def check(self, request: dict[str, Any]) -> None:
        prompts.check(request)

    def slots(self, request: dict[str, Any]) -> Iterator[TextSlot]:
        return prompts.slots(request)

    def question(self, request: dict[str, Any]) -> str:
        return prompts.last_user_text(request["messages"])

    def for_upstream(self, request: dict[str, Any], prompt: SystemPrompt | None, *, guarded: bool) -> dict[str, Any]:
        out = dict(request) if prompt is None else prompts.with_system_prompt(request, prompt)
        return kept_readable(out, prompt, guarded=guarded)

    def refused(self, ask: Ask) -> bytes:
        return orjson.dumps({**frames.refused(f"msg_{ask.id}", ask), "wardgate": ask.findings()})

    def refused_stream(self, ask: Ask) -> bytes:
        body = frames.message(f"msg_{ask.id}", ask.model, [], None)
        return frames.start(body) + frames.refusal(0, ask, body["usage"]) + frames.STOP

    def broken(self, error: WardgateError) -> bytes:
        return frames.event(error_body(error))

    def answer(self, ask: Ask, judge: Judge, *, guarded: bool) -> AnswerFilter:
        return MessagesAnswer(ask, judge, guarded)


class CountTokensWire(MessagesWire):
    """Implements `Wire`. Nothing is generated: a prompt that is blocked is an error, whatever the policy's form."""

    route = "/v1/messages/count_tokens"
    upstream = "/messages/count_tokens"

    def check(self, request: dict[str, Any]) -> None:
        if request.get("stream"):
            raise InvalidRequest("A count of tokens is no stream; leave `stream` out.", param="stream")
        prompts.check(request)

    def refused(self, ask: Ask) -> bytes:
        stopped = [f for f in ask.findings()["findings"] if RANK[Action(f["action"])] >= RANK[Action.ESCALATE]]
        result = {f["category"]: {"filtered": True, "detected": True} for f in stopped}
        raise ContentFiltered("The prompt was blocked by the content policy.", result=result)

    def answer(self, ask: Ask, judge: Judge, *, guarded: bool) -> AnswerFilter:
        return CountAnswer(judge)
