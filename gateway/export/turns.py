"""The conversation of a request, in the one shape that training sets know: chat messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

Message = dict[str, Any]
TEXT = frozenset({"text", "input_text", "output_text"})
THOUGHTS = frozenset({"thinking", "redacted_thinking", "reasoning"})
"""What a model thought before earlier answers: not said to anybody, so no turn."""
SYSTEM = frozenset({"system", "developer"})
SPEAKERS = frozenset({"user", "assistant", "tool"})
ELSEWHERE = ("previous_response_id", "conversation", "prompt", "previous_input_messages", "previous_response")
"""Fields of `/v1/responses` that bring turns which are not in the request."""


class Unreadable(Exception):
    """No conversation can be made of it; `reason` is a word for the manifest."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def turns(route: str, request: Mapping[str, Any]) -> list[Message]:
    """Every turn before the answer; the system's are one, in the first place. Unreadable where something is missing."""
    read = READERS.get(route)
    if read is None:
        raise Unreadable("no_conversation")
    try:
        said = list(read(request))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Unreadable("no_conversation") from None
    system = [m["content"] for m in said if m["role"] in SYSTEM and m["content"]]
    spoken = [m for m in said if m["role"] not in SYSTEM]
    if not {m["role"] for m in spoken} <= SPEAKERS or not any(m["role"] == "user" for m in spoken):
        raise Unreadable("no_conversation")
    if spoken[-1]["role"] == "assistant":
        raise Unreadable("prefilled_answer")
    return [*([{"role": "system", "content": "\n\n".join(system)}] if system else []), *spoken]


def with_owner(said: list[Message], owner: str, *, replaces: bool) -> list[Message]:
    """The turns as the model got them: the owner's system prompt leads, or stands alone."""
    if not owner:
        return said
    own = [m["content"] for m in said if m["role"] == "system" and not replaces]
    return [{"role": "system", "content": "\n\n".join([owner, *own])}, *(m for m in said if m["role"] != "system")]


def tools_of(route: str, request: Mapping[str, Any]) -> list[Any]:
    """The functions that the model could call, as chat templates take them."""
    given = request.get("tools")
    known = [tool for tool in given if isinstance(tool, dict)] if isinstance(given, list) else []
    return [tool for tool in (function_of(route, each) for each in known) if tool]


def function_of(route: str, tool: Mapping[str, Any]) -> dict[str, Any] | None:
    """None: it is no function, but something the server does by itself."""
    if route == "/v1/chat/completions":
        return dict(tool) if isinstance(tool.get("function"), dict) else None
    schema = tool.get("input_schema" if route == "/v1/messages" else "parameters")
    if not isinstance(schema, dict) or not isinstance(tool.get("name"), str):
        return None
    told = {"description": tool["description"]} if isinstance(tool.get("description"), str) else {}
    return {"type": "function", "function": {"name": tool["name"], **told, "parameters": schema}}


def plain(content: Any) -> str:
    """The text of a message's content; Unreadable where there is more than text."""
    if content is None or isinstance(content, str):
        return content or ""
    parts: list[str] = []
    for part in content:
        if part.get("type", "text") in TEXT:
            parts.append(str(part["text"]))
        elif part["type"] not in THOUGHTS:
            raise Unreadable("not_text")
    return "\n".join(parts)


def chat(request: Mapping[str, Any]) -> Iterator[Message]:
    for message in request["messages"]:
        turn: Message = {"role": message["role"].strip().lower(), "content": plain(message.get("content"))}
        if calls := message.get("tool_calls"):
            turn["tool_calls"] = [call(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls]
        if "tool_call_id" in message:
            turn["tool_call_id"] = message["tool_call_id"]
        if message.get("function_call"):
            raise Unreadable("no_conversation")
        yield turn


def messages(request: Mapping[str, Any]) -> Iterator[Message]:
    """Anthropic's: calls and their results are blocks of the content."""
    if system := plain(request.get("system")):
        yield {"role": "system", "content": system}
    for message in request["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for block in blocks:
            if block["type"] == "tool_result":
                result = {"role": "tool", "content": plain(block.get("content"))}
                yield {**result, "tool_call_id": block["tool_use_id"]}
        rest = [b for b in blocks if b["type"] not in ("tool_result", "tool_use")]
        uses = [b for b in blocks if b["type"] == "tool_use"]
        turn: Message = {"role": message["role"], "content": plain(rest)}
        if uses:
            turn["tool_calls"] = [call(b["id"], b["name"], orjson.dumps(b["input"]).decode()) for b in uses]
        if turn["content"] or uses:
            yield turn


def responses(request: Mapping[str, Any]) -> Iterator[Message]:
    if any(request.get(name) for name in ELSEWHERE):
        raise Unreadable("earlier_turns_unknown")
    if instructions := request.get("instructions"):
        yield {"role": "system", "content": plain(instructions)}
    given = request["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        turn = item_turn(item)
        if turn is not None:
            yield turn


def item_turn(item: Mapping[str, Any]) -> Message | None:
    kind = item.get("type", "message")
    if kind in THOUGHTS:
        return None
    if kind == "message":
        return {"role": item["role"], "content": plain(item["content"])}
    if kind == "function_call":
        asked = call(item["call_id"], item["name"], item["arguments"])
        return {"role": "assistant", "content": "", "tool_calls": [asked]}
    if kind == "function_call_output":
        return {"role": "tool", "content": plain(item["output"]), "tool_call_id": item["call_id"]}
    raise Unreadable("no_conversation")


def call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


READERS = {"/v1/chat/completions": chat, "/v1/messages": messages, "/v1/responses": responses}
