"""Images, audio, video and files of a request, in the shapes of every surface; and their place once they are kept.

Parts are told by their keys, not by their `type`: vLLM reads them in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from gateway.wire.payload import DATA_URL

MediumKind = Literal["image", "audio", "video", "file", "unknown"]
Form = Literal["data", "url", "reference", "broken"]

LINKS: dict[str, MediumKind] = {
    "image_url": "image",
    "audio_url": "audio",
    "video_url": "video",
    "file_url": "file",
    "file_data": "file",
}
"""Keys that hold a URL, or an object with one."""
REFERENCES: dict[str, MediumKind] = {
    "file_id": "file",
    "image_embeds": "image",
    "audio_embeds": "audio",
    "video_embeds": "video",
    "image_pil": "image",
}
"""Keys that hold something which only the model server can look into."""
SOURCES: dict[str, MediumKind] = {"image": "image", "document": "file"}
"""`type` of Anthropic's blocks whose `source` is a medium."""
BOXES: dict[str, MediumKind] = {"input_audio": "audio", "file": "file"}
"""Keys that hold an object with more inside; so does `source`."""
MEDIA_KEYS = frozenset({*LINKS, *REFERENCES, *BOXES, "source"})
KNOWN_TYPES = frozenset(
    {
        *("text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text", "reasoning", "thinking"),
        *("redacted_thinking", "tool_use", "server_tool_use", "mcp_tool_use", "tool_result", "tool_reference"),
        *("document", "search_result", "message", "function_call", "function_call_output"),
        *("code_execution_output", "bash_code_execution_output"),
    }
)
"""Parts that are text, which others judge, or hold parts."""
NESTING = ("content", "output")
DEPTH = 100
KEPT = 256
"""Characters up to which a medium is kept in the flag log as it is."""


@dataclass(frozen=True, slots=True)
class Medium:
    """One of them, and the place where it stands."""

    kind: MediumKind
    form: Form
    path: str
    value: str = ""
    """Base64, or a URL. Of `broken`: what is wrong."""
    declared: str = ""
    """Media type of base64 that stands without a data URL."""
    holder: dict[str, Any] | None = None
    key: str = ""


def media_of(request: dict[str, Any]) -> Iterator[Medium]:
    """Every medium of a chat, responses or messages request, in order; text alone costs next to nothing."""
    for name in ("system", "messages", "input"):
        items = request.get(name)
        if isinstance(items, list):
            for i, item in enumerate(items):
                if isinstance(item, dict):
                    yield from _item(item, f"{name}[{i}]", 0)


def _item(item: dict[str, Any], path: str, depth: int) -> Iterator[Medium]:
    if depth > DEPTH:
        yield Medium("unknown", "broken", path, f"is nested more than {DEPTH} levels deep")
        return
    yield from _keyed(item, path)
    for name in NESTING:
        inner = item.get(name)
        for i, part in enumerate(inner if isinstance(inner, list) else ()):
            if isinstance(part, dict):
                yield from _part(part, f"{path}.{name}[{i}]", depth + 1)
        if isinstance(inner, dict):
            yield from _part(inner, f"{path}.{name}", depth + 1)


def _part(part: dict[str, Any], path: str, depth: int) -> Iterator[Medium]:
    """A part of some content: a medium, text, something that holds parts, or what nobody here knows."""
    yield from _item(part, path, depth)
    kind = part.get("type")
    known = kind is None or kind in KNOWN_TYPES or str(kind).endswith("tool_result")
    if not known and not any(key in part for key in MEDIA_KEYS):
        yield Medium("unknown", "reference", path)


def _keyed(node: dict[str, Any], path: str) -> Iterator[Medium]:
    for key in [k for k in node if k in MEDIA_KEYS]:
        value, where = node[key], f"{path}.{key}"
        if key in LINKS:
            yield _link(LINKS[key], node, key, where)
        elif key in REFERENCES:
            if value is not None:
                told = value if isinstance(value, str) else ""
                yield Medium(REFERENCES[key], "reference", where, told, "", node, key)
        else:
            yield from _boxed(key, str(node.get("type")), value, where)


def _boxed(key: str, kind: str, value: object, path: str) -> Iterator[Medium]:
    """Of an object that holds a medium with what is to be known of it. `source` has other uses where it is a string."""
    if not isinstance(value, dict):
        if key != "source" or kind in SOURCES:
            yield Medium(SOURCES[kind] if key == "source" else BOXES[key], "broken", path, "must be an object")
    elif key == "input_audio":
        yield _base64("audio", value, "data", f"audio/{value.get('format')}", path)
    elif key == "file":
        yield from _keyed(value, path)
    else:
        yield from _source(SOURCES.get(kind, "unknown"), value, path)


def _link(kind: MediumKind, holder: dict[str, Any], key: str, path: str) -> Medium:
    """A URL, bare or in an object; nothing where vLLM is to find it by its `uuid`."""
    value = holder.get(key)
    if isinstance(value, dict):
        holder, key, path, value = value, "url", f"{path}.url", value.get("url")
    if value is None:
        return Medium(kind, "reference", path)
    if not isinstance(value, str):
        return Medium(kind, "broken", path, "must be a string")
    form: Form = "data" if value[:5].lower() == "data:" or key == "file_data" else "url"
    return Medium(kind, form, path, value, "", holder, key)


def _base64(kind: MediumKind, holder: dict[str, Any], key: str, declared: str, path: str) -> Medium:
    value = holder.get(key)
    if value is None:
        return Medium(kind, "reference", path)
    if not isinstance(value, str):
        return Medium(kind, "broken", f"{path}.{key}", "must be a string")
    return Medium(kind, "data", f"{path}.{key}", value, declared, holder, key)


def _source(kind: MediumKind, source: dict[str, Any], path: str) -> Iterator[Medium]:
    """Of an Anthropic block. A source of text is judged as text; one of parts has media of its own."""
    form = source.get("type")
    if form == "base64":
        yield _base64(kind, source, "data", str(source.get("media_type")), path)
    elif form == "url":
        yield _link(kind, source, "url", f"{path}.url")
    elif form == "content":
        yield from _item(source, path, 1)
    elif form != "text" and not (form == "file" and "file_id" in source):
        yield Medium(kind, "reference", path)
    elif form == "file":
        yield Medium(kind, "reference", f"{path}.file_id")


def without_media(request: dict[str, Any]) -> dict[str, Any]:
    """The request as the flag log keeps it: of a large medium only its type, size and hash."""
    if not any(len(m.value) > KEPT for m in media_of(request)):
        return request
    try:
        kept: dict[str, Any] = orjson.loads(orjson.dumps(request))
    except orjson.JSONEncodeError:
        return request
    for medium in list(media_of(kept)):
        if medium.holder is not None and len(medium.value) > KEPT:
            medium.holder[medium.key] = _told(medium.value)
    return kept


def _told(value: str) -> str:
    match = DATA_URL.match(value)
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{match[0] if match and match.end() < KEPT else ''}[{len(value)} characters, sha256 {digest}]"
