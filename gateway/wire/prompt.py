"""The texts of a chat request, and the owner's system prompt that joins them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.errors import InvalidRequest, SystemMessageRefused
from gateway.wire.tree import DEPTH, Node, Opaque, TooDeep, leaves, named
from guards.policy import SystemPrompt

NOT_TEXT = frozenset({"role", "type", "id", "tool_call_id", "file_id"})
"""Keys whose strings are names and ids, as long as they look like it."""
MEDIA = frozenset({"image_url", "input_audio", "video_url", "audio_url", "file"})
"""Keys of a content part that hold media; elsewhere, as in a tool's schema, they are names like any other."""
FILE = "file_data"
"""Of a file its content is no text, its name is one."""
UNDOES_PROMPT = ("truncate_prompt_tokens", "truncation_side", "chat_template")
"""vLLM's fields that cut the beginning of a prompt off, or leave it out: not for a client where the owner has a say."""
TEMPLATED = ("tools", "functions", "documents", "chat_template_kwargs", "chat_template")
SYSTEM_ROLES = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class TextSlot:
    """A text of the request and the place where it stands."""

    holder: dict[str, Any] | list[Any]
    key: Any
    path: str
    text: str
    role: str
    json: bool = False
    """The text is JSON written by a model: tool-call arguments."""

    def put(self, text: str) -> None:
        self.holder[self.key] = text


def check_messages(request: dict[str, Any]) -> None:
    """The messages, or InvalidRequest. What else is wrong the upstream says in its own words."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("`messages` must be a non-empty array of message objects.", param="messages")
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequest("Each message must be an object.", param=f"messages[{i}]")
        if not isinstance(message.get("role"), str):
            raise InvalidRequest("Each message needs a `role`, a string.", param=f"messages[{i}].role")
        if not isinstance(message.get("content"), str | list | None):
            raise InvalidRequest(
                "`content` must be a string, an array of parts, or null.", param=f"messages[{i}].content"
            )


def check_common(request: dict[str, Any]) -> None:
    """What every surface that generates shares."""
    if not isinstance(request.get("stream"), bool | None):
        raise InvalidRequest("`stream` must be true or false.", param="stream")
    n = request.get("n")
    if n is not None and (type(n) is not int or n < 1):
        raise InvalidRequest("`n` must be a whole number, 1 or more.", param="n")


def texts(request: dict[str, Any]) -> Iterator[TextSlot]:
    """Every text that the client wrote and the model reads: all messages and parts, tool calls and results, tools."""
    for i, message in enumerate(request["messages"]):
        yield from walk(message, f"messages[{i}]", str(message.get("role")), is_wordless)
    yield from templated(request)


def templated(request: dict[str, Any]) -> Iterator[TextSlot]:
    """What a chat template writes into the prompt beside the messages, and the template, where the client sends one."""
    for name in TEMPLATED:
        value = request.get(name)
        if isinstance(value, list | dict):
            yield from walk(value, name, "tool")
        elif isinstance(value, str) and value:
            yield TextSlot(request, name, name, value, "tool")


def walk(node: Node, path: str, role: str, opaque: Opaque | None = None) -> Iterator[TextSlot]:
    """Every text in it, or InvalidRequest. `opaque`: what holds none; by default what names something."""
    try:
        for leaf in leaves(node, path, opaque or is_name):
            yield TextSlot(leaf.holder, leaf.key, leaf.path, leaf.text, role, json=leaf.key == "arguments")
    except TooDeep as error:
        raise InvalidRequest(f"The request is nested more than {DEPTH} levels deep.", param=error.path) from None


def is_name(holder: Node, key: Any) -> bool:
    return key in NOT_TEXT and named(holder[key])


def is_wordless(holder: Node, key: Any) -> bool:
    """In a message: names, and media."""
    if key == FILE:
        return " " not in str(holder[key])
    typed = key in MEDIA and isinstance(holder, dict) and isinstance(holder.get("type"), str)
    return (typed and not (key == "file" and isinstance(holder[key], dict))) or is_name(holder, key)


def with_system_prompt(messages: list[dict[str, Any]], prompt: SystemPrompt) -> list[dict[str, Any]]:
    """The messages as the model gets them.

    `prepend`: the owner's text leads, joined with the client's leading system messages into one, since many chat
    templates take a single system message at the beginning only. `replace`: the client's system messages are dropped.
    `only`: they are refused.
    """
    if prompt.mode == "prepend":
        lead = 0
        while lead < len(messages) and _is_system(messages[lead]):
            lead += 1
        return [{"role": "system", "content": _joined(prompt.text, messages[:lead])}, *messages[lead:]]
    if prompt.mode == "only":
        for i, message in enumerate(messages):
            if _is_system(message):
                raise SystemMessageRefused(
                    "This model takes no system or developer messages; leave them out.", param=f"messages[{i}].role"
                )
    return [{"role": "system", "content": prompt.text}, *(m for m in messages if not _is_system(m))]


def kept_readable(request: dict[str, Any], prompt: SystemPrompt | None, *, guarded: bool) -> dict[str, Any]:
    """The request without what would undo the owner's prompt, or spell the answer so that no guard can read it."""
    if prompt is not None:
        for name in UNDOES_PROMPT:
            request.pop(name, None)
    if guarded and request.get("return_tokens_as_token_ids"):
        request["return_tokens_as_token_ids"] = False
    return request


def _is_system(message: dict[str, Any]) -> bool:
    return str(message["role"]).strip().lower() in SYSTEM_ROLES


def _joined(owner: str, messages: list[dict[str, Any]]) -> str | list[Any]:
    contents = [m.get("content") for m in messages if m.get("content")]
    if all(isinstance(c, str) for c in contents):
        return "\n\n".join([owner, *(str(c) for c in contents)])
    parts: list[Any] = [{"type": "text", "text": owner}]
    for content in contents:
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    return parts


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """The text of the last message that the user wrote."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            parts = [p.get("text") for p in content or () if isinstance(p, dict)]
            return "\n".join(p for p in parts if isinstance(p, str))
    return ""
