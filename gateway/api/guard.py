"""`POST /v1/guard`: a policy's guards alone, over a text or a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.checking import Asked, Check, calls_of
from gateway.errors import InvalidRequest
from gateway.wire import prompt as prompts
from gateway.wire.calls import offered_tools
from gateway.wire.media import media_of
from gateway.wire.prompt import TextSlot
from guards.calls import ToolCall
from guards.verdict import STAGES, Stage

FIELDS = ("policy", "model", "stage", "text", "prompt", "messages", "tools")
CARRIERS = ("messages", "tools")


class GuardForm:
    """Implements `Form`."""

    route = "/v1/guard"

    def read(self, request: dict[str, Any]) -> Asked:
        check_fields(request)
        stage = stage_of(request)
        if "text" in request:
            return Asked(stage, text_slots(request, stage), *whose(request), question=request.get("prompt") or "")
        prompts.check_messages(request)
        slots = list(prompts.texts({k: request[k] for k in CARRIERS if request.get(k) is not None}))
        if stage == "input":
            return Asked(stage, slots, *whose(request), media=list(media_of(request)))
        messages = request["messages"]
        start = answer_start(messages)
        answers = tuple(f"messages[{i}]." for i in range(start, len(messages)))
        judged = [s for s in slots if s.path.startswith(answers)]
        return Asked(
            stage,
            judged,
            *whose(request),
            question=prompts.last_user_text(messages[:start]),
            calls=list(called(messages, start)),
            offered=offered_tools(request) if request.get("tools") is not None else None,
        )

    def answer(self, check: Check) -> dict[str, Any]:
        request = check.exchange.request
        out = {**check.judging.findings(), "stage": check.asked.stage}
        if check.judging.withheld:
            return {**out, "text": None, **{k: None for k in CARRIERS if k in request}}
        text = request["text"] if "text" in request else said(request["messages"][-1])
        return {**out, "text": text, **{k: request[k] for k in CARRIERS if k in request}}


def check_fields(request: Mapping[str, Any]) -> None:
    """A field with a slip in its name would be a text that nobody judges, or another policy than was meant."""
    if not request.keys() <= set(FIELDS):
        raise InvalidRequest(f"There is a field that this route does not know. It takes: {', '.join(FIELDS)}.")
    if ("text" in request) == ("messages" in request):
        raise InvalidRequest("Send either `text` or `messages`.", param="text")
    for name in ("policy", "model", "prompt"):
        if not isinstance(request.get(name), str | None):
            raise InvalidRequest(f"`{name}` must be a string.", param=name)
    if not isinstance(request.get("tools"), list | None):
        raise InvalidRequest("`tools` must be an array.", param="tools")
    for name, other in (("prompt", "text"), ("tools", "messages")):
        if name in request and other not in request:
            raise InvalidRequest(f"`{name}` goes with `{other}`.", param=name)


def stage_of(request: Mapping[str, Any]) -> Stage:
    for stage in STAGES:
        if request.get("stage") == stage:
            return stage
    raise InvalidRequest("`stage` must be `input` (what goes to a model) or `output` (what it wrote).", param="stage")


def whose(request: Mapping[str, Any]) -> tuple[object, object]:
    return request.get("policy"), request.get("model")


def text_slots(request: dict[str, Any], stage: Stage) -> list[TextSlot]:
    if not isinstance(request["text"], str):
        raise InvalidRequest("`text` must be a string.", param="text")
    role = "user" if stage == "input" else "assistant"
    return [TextSlot(request, "text", "text", request["text"], role)] if request["text"] else []


def answer_start(messages: Sequence[Mapping[str, Any]]) -> int:
    """Where the answer begins: the assistant's messages at the end. What came before was judged in its own time."""
    start = len(messages)
    while start and messages[start - 1]["role"] == "assistant":
        start -= 1
    if start == len(messages):
        raise InvalidRequest("With `stage: output` the last message must be the assistant's.", param="messages")
    return start


def called(messages: Sequence[Mapping[str, Any]], start: int) -> Iterator[tuple[str, ToolCall]]:
    """The tool calls of the answer; the one of `function_call`, which came before there were many, among them."""
    for i in range(start, len(messages)):
        yield from calls_of(messages[i].get("tool_calls"), f"messages[{i}].tool_calls")
        if (old := messages[i].get("function_call")) is not None:
            ((_, call),) = calls_of([{"function": old}], f"messages[{i}].function_call")
            yield f"messages[{i}].function_call", call


def said(message: Mapping[str, Any]) -> str:
    """The text of a message; of several parts, line by line."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = [p.get("text") for p in content or () if isinstance(p, dict)]
    return "\n".join(p for p in parts if isinstance(p, str))
