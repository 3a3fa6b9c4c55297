"""What becomes of each text that an answer may carry, by surface. Tests hold it against the published schemas."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple


class How(StrEnum):
    JUDGED = "judged"
    """Piece by piece, as it comes."""
    HELD = "held"
    """Until it is whole; then judged."""
    REFUSED = "refused"
    """An answer that holds it ends in an error."""
    DROPPED = "dropped"
    """Emptied."""
    ECHO = "echo"
    """What the client sent comes back, whatever the upstream writes there."""
    PLAIN = "not text"
    """Names, ids, codes: not written by the model."""


class Carrier(NamedTuple):
    """Texts of a surface that are treated alike."""

    surface: str
    """Route."""
    path: str
    """Where they stand; `*` is any name or number of them."""
    how: How
    vllm: bool = False
    """vLLM's own; the published schemas have it not."""

    def covers(self, path: str) -> bool:
        return fnmatchcase(path.replace("[]", ""), self.path.replace("[]", ""))


CHAT, TEXT, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
RESPONSES = "/v1/responses"


def _rows(surface: str, how: How, *paths: str, vllm: bool = False) -> tuple[Carrier, ...]:
    return tuple(Carrier(surface, path, how, vllm) for path in paths)


COVERAGE: tuple[Carrier, ...] = (
    *_rows(CHAT, How.JUDGED, "choices[].*.content", "choices[].*.refusal", "choices[].logprobs.*"),
    *_rows(CHAT, How.JUDGED, "choices[].*.reasoning", "choices[].*.reasoning_content", vllm=True),
    *_rows(CHAT, How.PLAIN, "choices[].*.tool_calls[].id"),
    *_rows(CHAT, How.HELD, "choices[].*.tool_calls[].*", "choices[].*.function_call.*", "choices[].*.annotations[].*"),
    *_rows(CHAT, How.REFUSED, "choices[].*.audio.*"),
    *_rows(CHAT, How.DROPPED, "choices[].token_ids", "prompt_token_ids", "prompt_logprobs*", "prompt_text", vllm=True),
    *_rows(CHAT, How.HELD, "choices[].routed_experts", vllm=True),
    *_rows(CHAT, How.PLAIN, "choices[].*.role", "choices[].finish_reason", "choices[].stop_reason", vllm=True),
    *_rows(CHAT, How.HELD, "moderation.*", "metadata.*"),
    *_rows(CHAT, How.PLAIN, "id", "model", "system_fingerprint", "obfuscation"),
    *_rows(TEXT, How.JUDGED, "choices[].text", "choices[].logprobs.tokens[]"),
    *_rows(TEXT, How.DROPPED, "choices[].token_ids", "choices[].prompt_logprobs*", vllm=True),
    *_rows(TEXT, How.PLAIN, "choices[].*_reason", "choices[].routed_experts", "object", vllm=True),
    *_rows(TEXT, How.PLAIN, "id", "model", "system_fingerprint"),
    *_rows(MESSAGES, How.PLAIN, "*id", "*.data", "*.signature", "*.encrypted_*", "*model", "*.inference_geo"),
    *_rows(MESSAGES, How.JUDGED, "content[].text", "content[].thinking", "delta.text", "delta.thinking"),
    *_rows(MESSAGES, How.HELD, "delta.partial_json", "*content[].*", "content_block.*", "delta.citation.*"),
    *_rows(MESSAGES, How.HELD, "*container.*", "*stop_details.*", "*stop_sequence"),
    *_rows(MESSAGES, How.REFUSED, "error.*", vllm=True),
    *_rows(RESPONSES, How.PLAIN, "*id", "*model", "*.fingerprint", "*.created_by", "*error.type", "obfuscation"),
    *_rows(RESPONSES, How.ECHO, "*instructions", "*instructions[].*", "*tools[].*", "*tool_choice.*", "*metadata.*"),
    *_rows(RESPONSES, How.ECHO, "*prompt.*", "*prompt_cache_*", "*safety_identifier", "*user"),
    *_rows(RESPONSES, How.ECHO, "*text.format.*", "*reasoning.*"),
    *_rows(RESPONSES, How.DROPPED, "*.encrypted_content"),
    *_rows(RESPONSES, How.JUDGED, "delta", "text", "refusal", "part.*", "logprobs[].*"),
    *_rows(RESPONSES, How.HELD, "*output[].*", "item.*", "annotation.*", "arguments", "input", "code", "command"),
    *_rows(RESPONSES, How.HELD, "*error.*", "*moderation.*", "message", "param", "delta.*"),
    *_rows(RESPONSES, How.HELD, "input_messages[].*", "output_messages[].*", vllm=True),
    *_rows(RESPONSES, How.REFUSED, "partial_image_b64", "background", "output_format", "quality", "size"),
)


def how(surface: str, path: str) -> How | None:
    """What becomes of it; the first row that covers it counts. None: the table does not name it."""
    return next((row.how for row in COVERAGE if row.surface == surface and row.covers(path)), None)


def table() -> Iterator[str]:
    """The README's table, line by line."""
    yield "| surface | " + " | ".join(how for how in How if how is not How.PLAIN) + " |"
    yield "|---|" + "---|" * (len(How) - 1)
    for surface in dict.fromkeys(row.surface for row in COVERAGE):
        cells = [_paths(surface, how) for how in How if how is not How.PLAIN]
        yield f"| `{surface}` | " + " | ".join(cells) + " |"


def _paths(surface: str, how: How) -> str:
    found = [row.path for row in COVERAGE if row.surface == surface and row.how is how]
    return ", ".join(f"`{path}`" for path in found) or "–"
