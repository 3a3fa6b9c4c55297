"""A request of `/v1/responses`: its texts, and the owner's system prompt that joins its instructions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.errors import InvalidRequest, SystemMessageRefused
from gateway.wire.prompt import SYSTEM_ROLES, UNDOES_PROMPT, TextSlot, walk
from gateway.wire.tree import Node, named
from guards.policy import SystemPrompt

NAMES = frozenset(
    {
        "approval_request_id",
        "call_id",
        "container_id",
        "detail",
        "file_id",
        "id",
        "phase",
        "previous_response_id",
        "role",
        "status",
        "type",
    }
)
"""Keys whose strings are names and ids, as long as they look like it."""
MEDIA = frozenset({"file_data", "file_url", "image_url", "input_audio"})
"""Keys of a part of an item that hold media."""
SEALED = frozenset({"encrypted_content"})
"""Keys whose strings only the model's side can read; what reads like prose is no cipher."""
TOLD = ("tools", "prompt", "documents", "chat_template_kwargs", "chat_template")
"""Fields beside the input that reach the model."""
HISTORIES = ("previous_input_messages", "previous_response")
"""vLLM's fields that bring a conversation of their own, with its system messages."""
ELSEWHERE = {
    "background": "an answer that is fetched later would not be judged; ask for a stream",
    "conversation": "send the items of the conversation, or `previous_response_id`",
}
"""Fields that ask for what the gateway cannot guard, and what to do in their place."""


def check_input(request: dict[str, Any]) -> None:
    """InvalidRequest where the gateway cannot read it, or could not guard it."""
    given = request.get("input")
    if not isinstance(given, str | list) and (given is not None or request.get("prompt") is None):
        raise InvalidRequest("`input` must be a string or an array of items.", param="input")
    for i, item in enumerate(given if isinstance(given, list) else ()):
        if not isinstance(item, dict):
            raise InvalidRequest("Each item of `input` must be an object.", param=f"input[{i}]")
        _check_item(item, f"input[{i}]")
    for name in ("instructions", "previous_response_id"):
        if not isinstance(request.get(name), str | None):
            raise InvalidRequest(f"`{name}` must be a string.", param=name)
    for name, instead in ELSEWHERE.items():
        if request.get(name):
            raise InvalidRequest(f"`{name}` is not served here: {instead}.", param=name)


def _check_item(item: dict[str, Any], path: str) -> None:
    kind = item.get("type")
    if not isinstance(kind, str | None) or not isinstance(item.get("role"), str | None):
        raise InvalidRequest("`type` and `role` of an item must be strings.", param=path)
    if kind == "item_reference" or (kind is None and "role" not in item):
        raise InvalidRequest("Items must be sent whole, with their `type` or `role`: they are judged.", param=path)


def texts(request: dict[str, Any]) -> Iterator[TextSlot]:
    """Every text that the client wrote and the model reads."""
    if instructions := request.get("instructions"):
        yield TextSlot(request, "instructions", "instructions", instructions, "system")
    given = request.get("input")
    if isinstance(given, str) and given:
        yield TextSlot(request, "input", "input", given, "user")
    for i, item in enumerate(given if isinstance(given, list) else ()):
        yield from walk(item, f"input[{i}]", role_of(item), is_wordless)
    for name in (*TOLD, *HISTORIES):
        value = request.get(name)
        if isinstance(value, list | dict):
            yield from walk(value, name, "tool", is_name)
        elif isinstance(value, str) and value:
            yield TextSlot(request, name, name, value, "tool")


def role_of(item: dict[str, Any]) -> str:
    """Who speaks. What tools said, and calls that a server made for the model, nobody here can vouch for."""
    if item.get("type") in (None, "message"):
        return str(item.get("role"))
    return "assistant" if item.get("type") in ("reasoning", "function_call", "custom_tool_call") else "tool"


def is_wordless(holder: Node, key: Any) -> bool:
    """In an item: names, media, and ciphers. What reads like prose is no cipher."""
    value = holder[key]
    if key in SEALED:
        return isinstance(value, str) and value.isascii() and " " not in value
    return key in MEDIA or is_name(holder, key)


def is_name(holder: Node, key: Any) -> bool:
    return key in NAMES and named(holder[key])


def question(request: dict[str, Any]) -> str:
    """The text of the last message that the user wrote."""
    given = request.get("input")
    if isinstance(given, str):
        return given
    for item in reversed(given or ()):
        if item.get("role") == "user" and item.get("type") in (None, "message"):
            return "\n".join(message_texts(item))
    return ""


def message_texts(item: dict[str, Any]) -> list[str]:
    content = item.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str)]


def with_system_prompt(request: dict[str, Any], prompt: SystemPrompt) -> dict[str, Any]:
    """The request with the owner's prompt as its instructions, which hold for one request each, whatever came before.

    `prepend`: the owner's text leads, then the client's instructions and leading system messages, since many chat
    templates take one system message only. `replace`: the client's are dropped. `only`: they are refused.
    """
    out = dict(request)
    _check_open(out)
    given = out.get("input")
    items: list[dict[str, Any]] = given if isinstance(given, list) else []
    instructions = [prompt.text]
    if prompt.mode == "only":
        _refuse_system(out, items)
    elif prompt.mode == "prepend":
        lead = leading(items)
        instructions += [out.get("instructions") or "", *(t for item in items[:lead] for t in message_texts(item))]
        items = items[lead:]
    else:
        items = [item for item in items if not is_system(item)]
    out["instructions"] = "\n\n".join(text for text in instructions if text)
    if isinstance(given, list):
        out["input"] = items
    for name in UNDOES_PROMPT:
        out.pop(name, None)
    if out.get("truncation") is not None:
        out["truncation"] = "disabled"  # vLLM cuts a prompt at its beginning
    return out


def _check_open(request: dict[str, Any]) -> None:
    """What would bring instructions of its own past the owner's is refused."""
    for name in ("prompt", *HISTORIES):
        if request.get(name) is not None:
            raise InvalidRequest(
                f"This model takes no `{name}`; send `instructions` and `input` in its place.", param=name
            )


def _refuse_system(request: dict[str, Any], items: list[dict[str, Any]]) -> None:
    paths = ["instructions"] if request.get("instructions") else []
    paths += [f"input[{i}].role" for i, item in enumerate(items) if is_system(item)]
    if paths:
        raise SystemMessageRefused(
            "This model takes no instructions and no system or developer messages; leave them out.", param=paths[0]
        )


def leading(items: list[dict[str, Any]]) -> int:
    """How many system messages stand at the beginning, all of them text."""
    for i, item in enumerate(items):
        content = item.get("content")
        parts = content if isinstance(content, list) else []
        plain = isinstance(content, str) or all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in parts)
        if not is_system(item) or not plain or item.get("type") not in (None, "message"):
            return i
    return len(items)


def is_system(item: dict[str, Any]) -> bool:
    return str(item.get("role")).strip().lower() in SYSTEM_ROLES
