"""The items of a response: which of them can be judged, and every text in them.

Source: `openai.types.responses.ResponseOutputItem`. An item that is not named here never leaves: its texts could stand
anywhere. Within the known ones every string is judged that is no name, wherever it stands.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.errors import UpstreamBroken
from gateway.wire.responses.events import CALLS, KINDS
from gateway.wire.responses.texts import Texts
from gateway.wire.tree import DEPTH, named
from guards.calls import ToolCall

SPOKEN = frozenset({"message", "reasoning"})
"""Items that leave while they are being written. All others are held until they are complete."""
HELD = frozenset(
    {
        *CALLS,
        "apply_patch_call",
        "apply_patch_call_output",
        "computer_call",
        "custom_tool_call_output",
        "file_search_call",
        "function_call_output",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "web_search_call",
    }
)
REFUSED = frozenset(
    {
        "additional_tools",
        "compaction",
        "computer_call_output",
        "image_generation_call",
        "mcp_approval_response",
        "tool_search_call",
        "tool_search_output",
    }
)
"""Pictures, ciphers, and what only a client says or only OpenAI's own servers know."""
PARTS = {"message": ("output_text", "refusal"), "reasoning": ("reasoning_text", "summary_text")}
LISTS = ("summary", "content")
"""Where parts stand."""
TOOLS = frozenset({"function_call", "custom_tool_call", "mcp_call", "mcp_approval_request"})
"""Items that are calls of a tool by its name."""
OPAQUE = frozenset({"encrypted_content"})
"""Keys whose strings no guard can read: they are left out."""
NAMES = frozenset(
    {
        "approval_request_id",
        "call_id",
        "caller_id",
        "container_id",
        "created_by",
        "file_id",
        "fingerprint",
        "id",
        "item_id",
        "phase",
        "role",
        "status",
        "type",
    }
)
"""Keys whose strings are ids, or one of a few words, as long as they look like it."""
LABELS = frozenset({"name", "namespace", "server_label"})
"""Keys whose strings are judged, but too short to be scored."""
KEY = re.compile(r"[a-z_]{1,40}")


def kind_of(item: object) -> str:
    """The item's type, or UpstreamBroken where it could not be judged."""
    kind = item.get("type") if isinstance(item, dict) else None
    if not isinstance(item, dict) or kind not in SPOKEN | HELD:
        raise UpstreamBroken("The upstream sent an output item of a kind that cannot be judged.")
    if kind in SPOKEN:
        for part in parts_of(item):
            if part.get("type") not in PARTS[str(kind)]:
                raise UpstreamBroken("The upstream sent a content part of a kind that cannot be judged.")
    return str(kind)


def parts_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a spoken item, summaries first."""
    parts: list[dict[str, Any]] = []
    for name in LISTS:
        listed = item.get(name) or []
        if not isinstance(listed, list) or not all(isinstance(part, dict) for part in listed):
            raise UpstreamBroken("The upstream sent an output item of unknown shape.")
        if any(part.get("type") in KINDS and KINDS[part["type"]].list != name for part in listed):
            raise UpstreamBroken("The upstream sent a content part where none of its kind belongs.")
        parts += listed
    return parts


def settle(texts: Texts, item: dict[str, Any], place: str) -> None:
    """Judge every text of a complete item, in place."""
    kind = kind_of(item)
    raw = item.get(CALLS[kind].field) if kind in CALLS else item.get("arguments")
    walk(texts, item, place)
    if kind in TOOLS:
        name, free = item.get("name"), kind == "custom_tool_call"
        texts.call(ToolCall(name if isinstance(name, str) else "", raw if isinstance(raw, str) else "", free), place)


def walk(
    texts: Texts,
    node: dict[str, Any] | list[Any],
    place: str,
    *,
    asked: frozenset[str] | None = None,
    depth: int = 0,
) -> None:
    """Judge every string below `node`, in place.

    `asked`: `node` is no item but what stands around the output. What the client wrote itself is left as it is.
    """
    if depth > DEPTH:
        raise UpstreamBroken("The upstream's answer is nested too deeply.")
    holder: Any = node
    for key, value in sorted(node.items(), key=comes_late) if isinstance(node, dict) else list(enumerate(node)):
        if isinstance(key, str) and not _fine(texts, key, place, asked):
            del holder[key]
            continue
        where = f"{place}[{key}]" if isinstance(key, int) else f"{place}.{key}" if place else key
        own = asked is not None and isinstance(value, str) and value in asked
        kept = value if own else _kept(texts, str(key), value, where, asked)
        if kept is not value and kept != value:
            holder[key] = kept
        elif isinstance(value, dict | list) and key != "logprobs":
            walk(texts, value, where, asked=asked, depth=depth + 1)


def comes_late(item: tuple[str, Any]) -> bool:
    """Logprobs are judged by the text beside them."""
    return item[0] == "logprobs"


def _fine(texts: Texts, key: str, place: str, asked: frozenset[str] | None) -> bool:
    """Whether a key may leave."""
    return bool(KEY.fullmatch(key)) or (asked is not None and key in asked) or texts.name(place, key) == key


def _kept(texts: Texts, key: str, value: Any, where: str, asked: frozenset[str] | None) -> Any:
    """What may leave of a value that holds no others."""
    if key == "logprobs" and isinstance(value, list):
        return texts.whole_logprobs(f"{where.removesuffix(key)}text", value)
    if not isinstance(value, str) or not value:
        return value
    if key in OPAQUE:
        return None
    if key in NAMES and named(value):
        return value
    if key in LABELS or (asked is not None and named(value)):
        return texts.name(where, value)
    return texts.whole(where, value, json=key == "arguments")
