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
    """vLLM's own; OpenAI's schema has it not."""

    def covers(self, path: str) -> bool:
        return fnmatchcase(path.replace("[]", ""), self.path.replace("[]", ""))


CHAT = "/v1/chat/completions"
COVERAGE: tuple[Carrier, ...] = (
    Carrier(CHAT, "choices[].*.content", How.JUDGED),
    Carrier(CHAT, "choices[].*.refusal", How.JUDGED),
    Carrier(CHAT, "choices[].*.reasoning*", How.JUDGED, vllm=True),
    Carrier(CHAT, "choices[].*.tool_calls[].id", How.PLAIN),
    Carrier(CHAT, "choices[].*.tool_calls[].*", How.HELD),
    Carrier(CHAT, "choices[].*.function_call.*", How.HELD),
    Carrier(CHAT, "choices[].*.annotations[].*", How.HELD),
    Carrier(CHAT, "choices[].*.audio.*", How.REFUSED),
    Carrier(CHAT, "choices[].logprobs.*", How.JUDGED),
    Carrier(CHAT, "choices[].token_ids", How.DROPPED, vllm=True),
    Carrier(CHAT, "moderation.*", How.HELD),
    Carrier(CHAT, "metadata.*", How.HELD),
    Carrier(CHAT, "obfuscation", How.PLAIN),
    Carrier(CHAT, "id", How.PLAIN),
    Carrier(CHAT, "model", How.PLAIN),
    Carrier(CHAT, "system_fingerprint", How.PLAIN),
)


def how(surface: str, path: str) -> How | None:
    """What becomes of it; the first row that covers it counts. None: the table does not name it."""
    return next((row.how for row in COVERAGE if row.surface == surface and row.covers(path)), None)


def table() -> Iterator[str]:
    """The README's table, line by line."""
    yield "| surface | text | is |"
    yield "|---|---|---|"
    for row in COVERAGE:
        yield f"| `{row.surface}` | `{row.path}`{' (vLLM)' if row.vllm else ''} | {row.how} |"
