"""Every text of one answer, by its place in the whole response, each behind a filter of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import UpstreamBroken
from gateway.wire.arguments import Arguments
from gateway.wire.judge import Judge
from gateway.wire.logprobs import Logprobs, Spoken
from gateway.wire.surface import Track
from gateway.wire.written import Written
from guards.calls import ToolCall
from guards.stream import Decision, Release, TextFilter

CHOICE = 0
"""A response has one answer."""


@dataclass(slots=True)
class Carrier:
    """A text that the model writes, in pieces or at once."""

    filter: TextFilter
    json: bool = False
    """Tool-call arguments: read with their escapes undone."""
    written: Written = field(default_factory=Written)
    said: list[str] = field(default_factory=list)
    """What was let go of it."""
    redactions: list[Decision] = field(default_factory=list)
    final: bool = False


@dataclass(slots=True)
class Spelt:
    """The logprobs of a text."""

    filter: Logprobs
    text: Spoken
    kept: list[dict[str, Any]] = field(default_factory=list)
    final: bool = False


@dataclass(slots=True)
class Texts:
    """Judges what is new, and remembers what it let go: whoever repeats a text gets the same again."""

    judge: Judge
    carriers: dict[str, Carrier] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    """(place, raw) -> released, of texts too short to be scored."""
    logs: dict[str, Spelt] = field(default_factory=dict)
    blocked: bool = False

    def at(self, place: str) -> Carrier:
        known = self.carriers.get(place)
        if known is None:
            known = self.carriers[place] = Carrier(self.judge.filter())
        return known

    @property
    def held(self) -> int:
        return sum(c.filter.held for c in self.carriers.values())

    # -- texts in pieces

    def feed(self, place: str, text: str, *, final: bool = False) -> str:
        """What may leave of a text that grows."""
        known = self.at(place)
        if known.final:
            raise UpstreamBroken("The upstream went on with a text that had ended.")
        if text:
            known.written.add(text)
        release = known.filter.feed(text, final=final)
        self._note(release, place)
        known.final = final
        if release.redacted:
            known.redactions += filter(self.judge.redacts, release.decisions)
        if release.text:
            known.said.append(release.text)
        return release.text

    def finish(self, place: str, full: str | None) -> str:
        """The rest of a text, of which the upstream now says the whole. What it says otherwise than before is left."""
        known = self.at(place)
        if known.final:
            return ""
        before = known.written.text
        rest = full.removeprefix(before) if full is not None and full.startswith(before) else ""
        return self.feed(place, rest, final=True)

    # -- whole texts

    def whole(self, place: str, text: str, *, json: bool = False) -> str:
        known = self.carriers.get(place)
        if known is None and json:
            return self._arguments(place, text)
        if known is None or not known.final:
            self.finish(place, text)
        return "".join(self.carriers[place].said)

    def name(self, place: str, text: str) -> str:
        """A text that no guard scores: a name, a key, a label."""
        known = self.names.get((place, text))
        if known is None:
            release = self.judge.filter().feed(text, final=True)
            self._note(release, place)
            known = self.names[place, text] = release.text
        return known

    def _arguments(self, place: str, text: str) -> str:
        view = Arguments.read(text)
        known = self.carriers[place] = Carrier(self.judge.filter(), json=True, final=True)
        known.written.add(text)
        release = known.filter.feed(view.text, final=True)
        self._note(release, place)
        said = "" if release.blocked else view.redact(release.decisions, self.judge.redacts)
        known.said.append(said)
        return said

    def call(self, call: ToolCall, place: str) -> None:
        """A call that is complete, for the guards of calls."""
        if self.judge.call(call, place, CHOICE):
            self.blocked = True

    def _note(self, release: Release, place: str) -> None:
        if release.decisions or release.failures:
            self.judge.note(release, place, CHOICE)
        self.blocked |= release.blocked

    # -- logprobs

    def feed_logprobs(self, place: str, entries: list[Any], *, final: bool = False) -> list[dict[str, Any]]:
        """The entries that may leave now. `place`: of the text, which holds what they spell already."""
        if not self.judge.withholds:
            return entries
        known = self.logs.get(place)
        if known is None:
            if not entries:
                return []
            text = self.at(place)
            spoken = Spoken(text.written, text.filter, text.redactions)
            known = self.logs[place] = Spelt(Logprobs.new(self.judge.acts_on), spoken)
        if known.final:
            return []
        kept = known.filter.feed({"content": entries}, known.text, final=final)
        known.final = final
        fresh: list[dict[str, Any]] = kept["content"] if kept else []
        known.kept += fresh
        return fresh

    def whole_logprobs(self, place: str, entries: list[Any]) -> list[dict[str, Any]]:
        """Of a text that is complete."""
        known = self.logs.get(place)
        fresh = self.feed_logprobs(place, [] if known else entries, final=True)
        return self.logs[place].kept if place in self.logs else fresh

    # -- for those who look on

    def tracks(self) -> Iterator[Track]:
        for place, known in self.carriers.items():
            yield Track(CHOICE, place, known.written)

    def untold(self) -> dict[str, str]:
        return {place: fresh for place, c in self.carriers.items() if (fresh := c.written.untold())}

    def watch(self) -> None:
        """Show the whole texts to the monitored guards."""
        for place, known in self.carriers.items():
            text = known.written.text
            self.judge.watch_text(Arguments.read(text).text if known.json else text, place, CHOICE)
