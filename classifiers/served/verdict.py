"""A guard's words and likelihoods made into a probability: the words must match a grammar whole, or there is none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from classifiers.served.answer import Answer, Token, parse_error

THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard said, by the names of its grammar's groups."""

    said: re.Match[str]
    answer: Answer
    thinks: bool

    def chances(self, group: str, labels: Sequence[str]) -> dict[str, float]:
        """Label -> probability, at the place where the group's label stands; they add up to one.

        The labels are lower-case, and are all that the grammar allows there.
        """
        token, before = self._token(group)
        masses = dict.fromkeys(labels, 0.0)
        for other, logprob in token.top:
            if (label := _label(other, before, labels)) is not None:
                masses[label] += math.exp(logprob)
        said = self.said[group].lower()
        if _label(token.text, before, labels) != said or not masses[said]:
            raise parse_error("the label is not among the likeliest tokens")
        total = sum(masses.values())
        return {label: mass / total for label, mass in masses.items()}

    def _token(self, group: str) -> tuple[Token, str]:
        """The token that the group's label begins in, and what stands in it before that."""
        thoughts = len(self.answer.text) - len(self.said.string)
        return self._at(self._offset() + thoughts + self.said.start(group))

    def _offset(self) -> int:
        """Where the text begins among the tokens, which may hold thoughts before it and an end mark after."""
        tokens = [token.text for token in self.answer.tokens]
        for written in ("".join(tokens), "".join(tokens[:-1])):
            start = len(written) - len(self.answer.text)
            # It begins with a token, but for blanks that vLLM may trim. Else «safe» would be found in «unsafe».
            before = self._at(start)[1] if self.thinks else written[: max(start, 0)]
            if written.endswith(self.answer.text) and not before.strip():
                return start
        raise parse_error("the tokens are not those of the text")

    def _at(self, place: int) -> tuple[Token, str]:
        for token in self.answer.tokens:
            if place < len(token.text):
                return token, token.text[:place]
            place -= len(token.text)
        raise parse_error("the tokens end before the label")


def verdict(answer: Answer, grammar: re.Pattern[str], *, thinks: bool = False, cut: bool = False) -> Verdict:
    """The answer, which must match the grammar from end to end.

    `thinks`: once its thoughts, if they are closed, are off. `cut`: it may have been cut off, since only its first
    token was asked for.
    """
    thoughts = THOUGHTS.match(answer.text) if thinks else None
    said = grammar.fullmatch(answer.text[thoughts.end() :] if thoughts else answer.text)
    if said is None or not (answer.whole or cut):
        raise parse_error("the guard's answer is not of its grammar")
    return Verdict(said, answer, thinks)


def names(listed: str, known: Mapping[str, str]) -> frozenset[str]:
    """Our names of a comma-separated list of a guard's categories, every one of which must be known."""
    each = [name.strip() for name in listed.split(",")]
    if not all(name in known for name in each):
        raise parse_error("the guard names a category that it does not have")
    return frozenset(known[name] for name in each)


def _label(token: str, before: str, labels: Sequence[str]) -> str | None:
    """The one label that a token spells or begins to spell, in whatever case, and after blanks or after `before`."""
    if before.strip():
        if not token.startswith(before):
            return None
        token = token.removeprefix(before)
    piece = token.strip().lower()
    fitting = [label for label in labels if piece and label.startswith(piece)]
    return fitting[0] if len(fitting) == 1 else None
