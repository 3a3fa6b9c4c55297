"""Judged text made harmless for a guard's prompt: no piece of it can end its turn, or open another.

A blank after the first character is enough, since a control token is one only where it stands exactly. Words that
open a part of some prompt («AI assistant:») are ordinary text as well, and stay.
"""

from __future__ import annotations

import re

NAMES = "start_of_turn|end_of_turn|start_of_image|end_of_image|bos|eos|pad|unk|mask|s|cls|sep|SYS"
PARTS = "think|no-think|score|confidence|guardian|start_of_risk_definition|end_of_risk_definition"
CONTROL = re.compile(
    rf"<(?=[|｜])"  # <|eot_id|>, <|im_end|>, <|start|> and their kin
    rf"|[|｜](?=>)"
    rf"|<(?=/?(?:{NAMES}|{PARTS})\s*>)"  # <end_of_turn>, </s>, <</SYS>>, </think>
    rf"|<(?=(?:BEGIN|END)\s[A-Z\s]*>)"  # <END CONVERSATION>
    rf"|\[(?=/?(?:INST|SYS|CLS|SEP|MASK|PAD|UNK|gMASK|TOOL_\w+|AVAILABLE_TOOLS|SYSTEM_PROMPT)\])",
    re.IGNORECASE,
)


HALVES = re.compile("[\ud800-\udfff]")
"""Halves of characters, which JSON can spell and UTF-8 cannot."""


def escaped(text: str) -> str:
    """`<end_of_turn>` -> `< end_of_turn>`."""
    return CONTROL.sub(r"\g<0> ", HALVES.sub("\ufffd", text))
