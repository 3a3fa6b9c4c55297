"""One choice of a chat answer: its carriers, each behind a filter of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import UpstreamBroken
from gateway.wire.arguments import Arguments
from gateway.wire.call import Call
from gateway.wire.judge import Judge
from gateway.wire.logprobs import Logprobs, Spoken
from gateway.wire.nested import Nested, check_keys, misnamed
from gateway.wire.written import Written
from guards.calls import ToolCall
from guards.stream import Decision, TextFilter

NOT_TEXT = frozenset({"role", "id", "type", "name", "tool_call_id"})
CALLS = frozenset({"tool_calls", "function_call"})
CALL_IDS = frozenset({"id", "type", "index"})
KNOWN = frozenset({"index", "logprobs", "finish_reason", "token_ids"})
"""Keys of a choice that are seen to elsewhere, or that the model does not write."""
BESIDE = "^"
"""Marks what stands beside a message, not in it."""
REASON = re.compile(r"[a-z_]{0,32}")
USUAL = frozenset({"role", "content", "reasoning", "reasoning_content", "refusal", "text"})
UNREADABLE = frozenset({"audio", "images", "video"})
NONE: frozenset[str] = frozenset()


@dataclass(slots=True)
class ChoiceFilter:
    """Filters the deltas of one choice, or its one whole message."""

    index: int
    judge: Judge
    place: str = "choices[{}].message.{}"
    """Path of a carrier in a whole answer, from index and name."""
    not_text: frozenset[str] = NOT_TEXT
    """Keys whose strings are no text of the model."""
    seen_to: frozenset[str] = CALLS
    """Keys that have a way of their own, however deep they are."""
    texts: dict[str, TextFilter] = field(default_factory=dict)
    raw: dict[str, Written] = field(default_factory=dict)
    """Carrier -> what the model wrote in it, for the flag log and the guards that score."""
    redactions: dict[str, list[Decision]] = field(default_factory=dict)
    """Carrier -> what was redacted in it, in order."""
    nested: dict[str, Nested] = field(default_factory=dict)
    """What is held of a chunk's message (``), and of what stands beside it (`BESIDE`)."""
    calls: dict[int, Call] = field(default_factory=dict)
    legacy: Call | None = None
    logprobs: Logprobs | None = None
    spoken: dict[str, Spoken] = field(default_factory=dict)
    """Carrier -> how far it has left, once there are logprobs."""
    blocked: bool = False
    finished: bool = False

    @property
    def held(self) -> int:
        return sum(f.held for f in self.texts.values())

    def feed(self, choice: dict[str, Any], key: str, *, final: bool) -> bool:
        """Filter one chunk of the choice in place: the texts below `key`. Returns whether anything changed."""
        if self.blocked or self.finished:
            raise UpstreamBroken("The upstream went on with a choice that had ended.")
        node = self.node(choice, key)
        if not isinstance(reason := choice.get("finish_reason"), str | None) or not REASON.fullmatch(reason or ""):
            raise UpstreamBroken("The upstream ended a choice for an unknown reason.")
        changed = self._hold(node, self.seen_to, "", final)
        if node is not choice:
            changed |= self._hold(choice, KNOWN | {key}, BESIDE, final)
        changed |= self._feed_texts(node, final)
        changed |= self._feed_calls(node, final)
        changed |= self._feed_logprobs(choice, final)
        self.finished = final
        return changed

    def node(self, choice: dict[str, Any], key: str) -> dict[str, Any]:
        """Where the carriers of a chunk of the choice stand."""
        node = choice.get(key)
        if node is None:
            node = choice[key] = {}
        if not isinstance(node, dict):
            raise UpstreamBroken("The upstream sent a choice of unknown shape.")
        return node

    def _hold(self, node: dict[str, Any], besides: frozenset[str], prefix: str, final: bool) -> bool:
        """Keep what stands deeper in the node, such as annotations, until the end of the choice; then judge it."""
        held = self.nested.get(prefix)
        kinds = (dict, list, str) if prefix else (dict, list)
        names = [n for n, v in node.items() if v and isinstance(v, kinds) and (n not in besides or misnamed(n, v))]
        if not names and held is None:
            return False
        if not UNREADABLE.isdisjoint(names):
            raise UpstreamBroken("The answer holds media, which no guard can judge; ask for text alone.")
        held = self.nested[prefix] = held or Nested()
        for name in names:
            held.take(name, node.pop(name))
        if final or not self.judge.withholds:
            self._judge_nested(held, prefix)
            node.update(held.values)
            del self.nested[prefix]
        return True

    def _judge_nested(self, held: Nested, prefix: str = "") -> None:
        check_keys(held.values, self.judge.acts_on)
        for slots in held.groups():
            where = prefix + slots[0].path.removeprefix(".")
            pieces = [slot.text for slot in slots]
            said = "".join(pieces)
            self.raw.setdefault(where, Written()).add(said)
            if len(slots) > 1 and self.judge.acts_on(said):  # no telling which of them are one text
                slots[0].put(self._whole(said, where))
                for slot in slots[1:]:
                    slot.put("")
                continue
            for slot, piece in zip(slots, pieces, strict=True):
                slot.put(self._whole(piece, where))

    def _feed_texts(self, node: dict[str, Any], final: bool) -> bool:
        changed = False
        names = [n for n, v in node.items() if isinstance(v, str) and (n not in self.not_text or misnamed(n, v))]
        if not USUAL.issuperset(names):
            check_keys(dict.fromkeys(names), self.judge.acts_on)
        if isinstance(node.get("content"), list):
            raise UpstreamBroken("The upstream sent content of unknown shape.")
        for name in dict.fromkeys([*names, *self.texts]) if final else names:
            text = node.get(name) or ""
            if text or final:
                changed |= self._feed_text(node, name, text, final)
        return changed

    def _feed_text(self, node: dict[str, Any], name: str, text: str, final: bool) -> bool:
        known = self.texts.get(name)
        if known is None:
            known = self.texts[name] = self.judge.filter()
            self.raw[name] = Written()
        if text:
            self.raw[name].add(text)
        release = known.feed(text, final=final)
        if release.decisions or release.failures:
            self.judge.note(release, self._path(name), self.index)
        if release.redacted:
            self.redactions.setdefault(name, []).extend(d for d in release.decisions if self.judge.redacts(d))
        if release.blocked:
            self.blocked = True
        if release.text == text:
            return release.blocked
        node[name] = release.text
        return True

    def _feed_calls(self, node: dict[str, Any], final: bool) -> bool:
        entries = node.pop("tool_calls", None)
        legacy = node.pop("function_call", None)
        if not entries and not legacy and not self.calls and self.legacy is None:
            for name, value in (("tool_calls", entries), ("function_call", legacy)):
                if value is not None:
                    node[name] = value
            return False
        if entries is not None and not isinstance(entries, list):
            raise UpstreamBroken("The upstream sent tool calls of unknown shape.")
        for position, entry in enumerate(entries or ()):
            if not isinstance(entry, dict) or not isinstance(entry.get("index", position), int):
                raise UpstreamBroken("The upstream sent a tool call of unknown shape.")
            self.calls.setdefault(entry.get("index", position), Call({}, {})).add(entry)
        if isinstance(legacy, dict):
            self.legacy = self.legacy or Call({}, {})
            self.legacy.add({"function": legacy})
        if final and not self.blocked:
            self._release_calls(node)
        return True

    def _release_calls(self, node: dict[str, Any]) -> None:
        if self.calls:
            node["tool_calls"] = [
                self._judged(call, f"tool_calls[{i}].{call.kind}") for i, call in sorted(self.calls.items())
            ]
        if self.legacy is not None:
            node["function_call"] = self._judged(self.legacy, "function_call")["function"]
        if self.blocked:  # one bad call takes the others with it
            node.pop("tool_calls", None)
            node.pop("function_call", None)

    def _judged(self, call: Call, where: str) -> dict[str, Any]:
        asked = ToolCall(call.name, call.arguments or "", call.free)
        self.blocked |= self.judge.call(asked, self._path(where), self.index)
        for node, besides in ((call.entry, CALL_IDS), (call.function, NONE)):
            beside = Nested({n: v for n, v in node.items() if n not in besides or misnamed(n, v)})
            self._judge_nested(beside)
            node.update(beside.values)
        name = self._whole(call.name, f"{where}.name") if call.name else ""
        if name != call.name and isinstance(id := call.entry.get("id"), str):  # some models make the one of the other
            call.entry["id"] = id.replace(call.name, name)
        if call.arguments is None:
            return call.entry_with(name, None)
        if call.free:
            self.raw.setdefault(f"{where}.input", Written()).add(call.arguments)
            return call.entry_with(name, self._whole(call.arguments, f"{where}.input"))
        self.raw.setdefault(f"{where}.arguments", Written()).add(call.arguments)
        view = Arguments.read(call.arguments)
        release = self.judge.filter().feed(view.text, final=True)
        self.judge.note(release, self._path(f"{where}.arguments"), self.index)
        self.judge.watch_text(view.text, self._path(f"{where}.arguments"), self.index)
        self.blocked |= release.blocked
        return call.entry_with(name, view.redact(release.decisions, self.judge.redacts))

    def _whole(self, text: str, where: str) -> str:
        release = self.judge.filter().feed(text, final=True)
        self.judge.note(release, self._path(where), self.index)
        self.blocked |= release.blocked
        return release.text

    def _feed_logprobs(self, choice: dict[str, Any], final: bool) -> bool:
        node = choice.get("logprobs")
        if node is not None and not isinstance(node, dict):
            raise UpstreamBroken("The upstream sent logprobs of unknown shape.")
        if not self.judge.withholds or (node is None and not self.logprobs_asked):
            return False
        kept = None if self.blocked else self.leaving_logprobs(node, final=final)
        if kept == node:
            return False
        choice["logprobs"] = kept
        return True

    @property
    def logprobs_asked(self) -> bool:
        """There have been logprobs before."""
        return self.logprobs is not None

    def leaving_logprobs(self, node: dict[str, Any] | None, *, final: bool) -> dict[str, Any] | None:
        """The logprobs that may leave with this chunk."""
        if self.logprobs is None:
            self.logprobs = Logprobs.new(self.judge.acts_on)
        names = sorted(self.texts, key=lambda name: not name.startswith("reason"))  # a model thinks before it speaks
        return self.logprobs.feed(node, *map(self.speech, names), final=final)

    def speech(self, name: str) -> Spoken:
        """A carrier as tokens spell it."""
        known = self.spoken.get(name)
        if known is None:
            redactions = self.redactions.setdefault(name, [])
            known = self.spoken[name] = Spoken(self.raw[name], self.texts[name], redactions)
        return known

    def watch(self) -> None:
        """Show the whole texts to the monitored guards."""
        for name, written in self.raw.items():
            if not name.endswith(".arguments"):
                self.judge.watch_text(written.text, self._path(name), self.index)

    def written(self) -> Iterator[tuple[str, Written]]:
        """Every text so far, with the path where it stands in a whole answer."""
        for name, written in self.raw.items():
            yield self._path(name), written

    def untold(self) -> dict[str, str]:
        """Field -> what the model wrote there since the last call."""
        return {self._path(name): fresh for name, written in self.raw.items() if (fresh := written.untold())}

    def _path(self, name: str) -> str:
        if name.startswith(BESIDE):
            return f"choices[{self.index}].{name.removeprefix(BESIDE)}"
        return self.place.format(self.index, name)
