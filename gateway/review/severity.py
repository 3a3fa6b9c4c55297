"""How bad it may be: severity by category, 0 to 3, until a person says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SEVERITIES: Mapping[str, int] = {
    **dict.fromkeys(("child_exploitation", "violent_crimes", "sex_crimes", "weapons", "self_harm"), 3),
    **dict.fromkeys(("harm", "hate", "nonviolent_crimes", "sexual_content", "code_abuse", "elections"), 2),
    **dict.fromkeys(("jailbreak", "injection", "privacy", "defamation", "secret", "prompt_leak", "toxicity"), 2),
    **dict.fromkeys(("format", "off_topic", "refusal", "sycophancy"), 0),
}
DEFAULT = 1


def of(category: str) -> int:
    return SEVERITIES.get(category, DEFAULT)


def ranked(categories: Iterable[str]) -> tuple[str, ...]:
    """The most severe first."""
    return tuple(sorted(set(categories), key=lambda c: (-of(c), c)))
