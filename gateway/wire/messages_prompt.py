"""The texts of a request to `/v1/messages`, and the owner's system prompt that joins them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.errors import InvalidRequest, SystemMessageRefused
from gateway.wire import prompt as prompts
from gateway.wire.blocks import NAMES, SCHEMA_NAMES, walk
from gateway.wire.prompt import SYSTEM_ROLES, TextSlot
from guards.policy import SystemPrompt

READ_BY_MODEL = ("tools", "output_config", "chat_template_kwargs")
"""Fields of a request, beside `system` and `messages`, that can end up in the prompt."""


def check(request: dict[str, Any]) -> None:
    """InvalidRequest where the texts cannot be found; what else is wrong the upstream says in its own words."""
    prompts.check_messages(request)
    if not isinstance(request.get("stream"), bool | None):
        raise InvalidRequest("`stream` must be true or false.", param="stream")
    for i, message in enumerate(request["messages"]):
        _check_blocks(message.get("content"), f"messages[{i}].content")
    if not isinstance(request.get("system"), str | list | None):
        raise InvalidRequest("`system` must be a string or an array of text blocks.", param="system")
    _check_blocks(request.get("system"), "system")


def _check_blocks(content: object, path: str) -> None:
    for i, block in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise InvalidRequest("Each content block must be an object with a `type`.", param=f"{path}[{i}]")


def slots(request: dict[str, Any]) -> Iterator[TextSlot]:
    """Every text that the client wrote and the model reads."""
    system = request.get("system")
    if isinstance(system, list):
        yield from walk(system, "system", "system")
    elif system:
        yield TextSlot(request, "system", "system", system, "system")
    for i, message in enumerate(request["messages"]):
        yield from walk(message, f"messages[{i}]", message["role"])
    for name in READ_BY_MODEL:
        if isinstance(request.get(name), list | dict):
            yield from walk(request[name], name, "tool", names=SCHEMA_NAMES if name == "tools" else NAMES)


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """The text of the last message that the user wrote; one that only brings tool results is not."""
    for message in reversed(messages):
        if message.get("role") == "user" and (text := _said(message.get("content"))):
            return text
    return ""


def _said(content: object) -> str:
    if isinstance(content, str):
        return content
    texts = [b.get("text") for b in content if b.get("type") == "text"] if isinstance(content, list) else []
    return "\n".join(t for t in texts if isinstance(t, str))


def with_system_prompt(request: dict[str, Any], prompt: SystemPrompt) -> dict[str, Any]:
    """A copy of the request with the owner's prompt.

    `prepend`: the owner's text leads, the client's follows. `replace`: the client's `system`, and its messages with
    that role, are dropped. `only`: they are refused.
    """
    messages, system = request["messages"], request.get("system")
    theirs = [i for i, m in enumerate(messages) if str(m["role"]).strip().lower() in SYSTEM_ROLES]
    if prompt.mode == "prepend":
        return {**request, "system": _joined(prompt.text, system)}
    if prompt.mode == "only" and (system or theirs):
        where = "system" if system else f"messages[{theirs[0]}].role"
        raise SystemMessageRefused("This model takes no system prompt; leave `system` out.", param=where)
    kept = [m for i, m in enumerate(messages) if i not in theirs]
    return {**request, "system": prompt.text, "messages": kept}


def _joined(owner: str, system: str | list[Any] | None) -> str | list[Any]:
    if not system:
        return owner
    if isinstance(system, str):
        return f"{owner}\n\n{system}"
    return [{"type": "text", "text": f"{owner}\n\n"}, *system]  # vLLM puts nothing between two blocks
