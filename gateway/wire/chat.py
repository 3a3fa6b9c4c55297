"""`/v1/chat/completions`: upstream chunks in, chunks that may leave out. A whole body is a stream of one chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from gateway.errors import WardgateError
from gateway.wire import prompt as prompts
from gateway.wire.chat_answer import ChatAnswer
from gateway.wire.chat_frames import NO_USAGE, ending, head, refused_choice, refused_frames, wanted, wants_usage
from gateway.wire.judge import Judge
from gateway.wire.prompt import TextSlot, check_common
from gateway.wire.sse import DONE, frame
from gateway.wire.surface import Ask
from guards.policy import SystemPrompt


class ChatWire:
    """Implements `Wire`."""

    route = "/v1/chat/completions"
    upstream = "/chat/completions"

    def check(self, request: dict[str, Any]) -> None:
        prompts.check_messages(request)
        check_common(request)

    def slots(self, request: dict[str, Any]) -> Iterator[TextSlot]:
        return prompts.texts(request)

    def question(self, request: dict[str, Any]) -> str:
        return prompts.last_user_text(request["messages"])

    def for_upstream(self, request: dict[str, Any], prompt: SystemPrompt | None, *, guarded: bool) -> dict[str, Any]:
        out = dict(request)
        if prompt is not None:
            out["messages"] = prompts.with_system_prompt(request["messages"], prompt)
        return prompts.kept_readable(out, prompt, guarded=guarded)

    def refused(self, ask: Ask) -> bytes:
        choices = [refused_choice(i, ask) for i in range(wanted(ask.request))]
        body = {**head(ask, "chat.completion"), "choices": choices, "usage": NO_USAGE}
        return orjson.dumps({**body, "wardgate": ask.findings()})

    def refused_stream(self, ask: Ask) -> bytes:
        known, indices = head(ask, "chat.completion.chunk"), list(range(wanted(ask.request)))
        out = refused_frames(known, ask, indices, role=True, wardgate=ask.findings())
        return out + ending(known, NO_USAGE if wants_usage(ask.request) else None)

    def broken(self, error: WardgateError) -> bytes:
        return frame(orjson.dumps(error.body())) + DONE

    def answer(self, ask: Ask, judge: Judge, *, guarded: bool) -> ChatAnswer:
        return ChatAnswer(ask, judge, guarded)
