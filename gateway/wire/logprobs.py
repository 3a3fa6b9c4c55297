"""Logprobs repeat the answer token by token, so they pass a filter of their own and leave no sooner than the text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import UpstreamBroken
from guards.stream import Release, TextFilter


@dataclass(slots=True)
class LogprobFilter:
    """Keeps entries until the filter has decided their tokens; entries of redacted text are dropped."""

    text: TextFilter
    fresh: Callable[[], TextFilter]
    waiting: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    """(start, end, entry) in the text of all tokens so far."""
    at: int = 0
    gone: list[tuple[int, int]] = field(default_factory=list)
    """Spans that were redacted and may still cover waiting entries."""

    @classmethod
    def new(cls, text: TextFilter, fresh: Callable[[], TextFilter]) -> LogprobFilter:
        return cls(text, fresh)

    def feed(self, node: dict[str, Any], *, final: bool) -> tuple[dict[str, Any] | None, Release]:
        """The logprobs that may leave with this chunk."""
        parts = [node.get("content") or [], node.get("refusal") or []]
        if not all(isinstance(part, list) for part in parts):
            raise UpstreamBroken("The upstream sent logprobs of unknown shape.")
        tokens = [self._take(entry) for part in parts for entry in part]
        release = self.text.feed("".join(tokens), final=final)
        if release.redacted:
            self.gone += [(d.match.start, d.match.end) for d in release.decisions if self._hides(d.rule)]
        kept = self._leaving(release)
        if not kept and not node:
            return None, release
        return {**node, "content": kept, **({"refusal": None} if node.get("refusal") else {})}, release

    def _hides(self, rule: int) -> bool:
        return self.text.lane.rules[rule].rank > 1

    def _take(self, entry: object) -> str:
        if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
            raise UpstreamBroken("The upstream sent logprobs of unknown shape.")
        token: str = entry["token"]
        self.waiting.append((self.at, self.at + len(token), self._safe(entry)))
        self.at += len(token)
        return token

    def _safe(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Alternatives are text too: one that a guard would act on by itself is left out."""
        alternatives = entry.get("top_logprobs")
        if not alternatives or not isinstance(alternatives, list):
            return entry
        tokens = [str(a.get("token", "")) if isinstance(a, dict) else "" for a in alternatives]
        if not self._acts("\n".join(tokens)):
            return entry
        safe = [a for a, token in zip(alternatives, tokens, strict=True) if not self._acts(token)]
        return {**entry, "top_logprobs": safe}

    def _acts(self, text: str) -> bool:
        release = self.fresh().feed(text, final=True)
        return release.blocked or release.redacted

    def _leaving(self, release: Release) -> list[dict[str, Any]]:
        if release.blocked:
            return []
        kept: list[dict[str, Any]] = []
        while self.waiting and self.waiting[0][1] <= release.end:
            start, end, entry = self.waiting.pop(0)
            if not any(low < end and start < high for low, high in self.gone):
                kept.append(entry)
        self.gone = [g for g in self.gone if g[1] > release.end]
        return kept
