"""What an exact guard looks for: a regular expression with a gate before it and a check behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """One entity that can be told by its form, such as an e-mail address.

    `pattern` is written in the common subset of Python's `re` and RE2, plus one leading look-behind and one trailing
    look-ahead, each of a single character class: `(?<![\\w.])...(?!\\d)`. It is bounded in length (no `*`, `+`,
    `{n,}`), matches with ASCII `\\w \\d \\s \\b`, and never matches the empty text.
    """

    entity: str
    """Stable snake_case name; upper-cased it is the placeholder: `email` -> `[EMAIL]`."""
    pattern: str
    gate: str
    """RE2 expression without assertions that occurs in every text that holds a match; cheap, and may be unbounded."""
    valid: Callable[[str], bool] | None = None
    """Checks the matched text (or its `secret` group): checksums, entropy, a library's parser. Pure."""
    flags: re.RegexFlag = re.NOFLAG
    """`re.IGNORECASE` or nothing."""
    # A group named `secret` in the pattern narrows the finding to that group: `password = "(?P<secret>...)"`.
