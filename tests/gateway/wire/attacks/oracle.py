"""What may be seen of an answer: what the guards alone let pass, and what the whole run says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import orjson

from gateway.errors import WardgateError
from gateway.wire.arguments import Arguments
from gateway.wire.judge import Judge
from gateway.wire.surface import AnswerFilter, Ask, Wire
from guards.catalog import build_lanes
from guards.lane import Lane
from guards.policy import Policy
from guards.stream import Release, TextFilter
from guards.verdict import Action
from tests.gateway.wire.attacks.chance import PATTERN, TERMS, Chance, bare
from tests.guards.lanes import FOLDER, rule

REFUSAL = "Not this."
NOTHING = Lane((), None, ())
ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
APART = -1
"""Stands for a choice where a text belongs to none."""


class Mode(StrEnum):
    """How a carrier is judged."""

    GROWING = "growing"
    JSON = "json"
    PIECES = "pieces"
    """Texts one after the other that may be one."""
    EACH = "each"
    """Each of its texts by itself."""
    ASIDE = "aside"
    """Each by itself, and any may be left out."""
    ASIDE_JSON = "aside json"
    SEEN = "seen"
    """Not text of the answer: may only repeat what is."""


ASIDES = frozenset({Mode.ASIDE, Mode.ASIDE_JSON})
JSONS = frozenset({Mode.JSON, Mode.ASIDE_JSON})
LOOSE = ASIDES | {Mode.SEEN}


class Carrier(NamedTuple):
    choice: int
    name: str
    mode: Mode = Mode.GROWING


Said = Mapping[Carrier, Sequence[str]]
"""Carrier -> its texts, piece by piece."""


class Attack(Protocol):
    """One surface under attack."""

    @property
    def wire(self) -> Wire: ...

    @property
    def contradicts(self) -> bool:
        """The upstream says a text twice, and not the same: there is no telling which of them counts."""

    def request(self) -> dict[str, Any]: ...

    def stream(self) -> list[bytes]:
        """The payloads of the upstream's frames."""

    def body(self) -> dict[str, Any] | None:
        """The same answer, whole; None: there is none that means the same."""

    def read(self, payloads: Sequence[Any], *, sent: bool) -> Said:
        """What frames say. `sent`: by the upstream, whose word after an end counts no more."""

    def read_whole(self, body: dict[str, Any]) -> Said: ...

    def check_form(self, frames: Sequence[bytes], *, broken: bool) -> set[int]:
        """The stream is one that clients can read: the choices that it ended with a refusal."""


def lane(codename: Action, term: Action) -> Lane:
    guards = (
        rule("pii", "pii", entities=("email",)),
        rule("codename", "pattern", codename, pattern=PATTERN),
        rule("terms", "denylist", term, terms=TERMS),
    )
    return build_lanes(Policy(name="p", guards=guards), "output", FOLDER).enforced


def answering(wire: Wire, lane: Lane, request: dict[str, Any]) -> AnswerFilter:
    ask = Ask(request, "1", "m", lambda: REFUSAL, lambda: {"action": "allow", "findings": []}, False)
    filter_ = wire.answer(ask, judge_of(lane), guarded=True)
    assert filter_ is not None
    return filter_


def judge_of(lane: Lane) -> Judge:
    return Judge(lane, NOTHING, FOLDER, "output")


def alone(lane: Lane, text: str, mode: Mode = Mode.GROWING) -> Release:
    """What the guards say of a whole text."""
    if mode not in JSONS:
        return TextFilter.new(lane, FOLDER).feed(text, final=True)
    view = Arguments.read(text)
    release = TextFilter.new(lane, FOLDER).feed(view.text, final=True)
    release.text = "" if release.blocked else view.redact(release.decisions, judge_of(lane).redacts)
    return release


def drive(wire: Wire, filter_: AnswerFilter, payloads: Sequence[bytes]) -> tuple[list[bytes], bool]:
    """What leaves, and whether an error cut the stream short. As `StreamWriter` does it."""
    out: list[bytes] = []
    try:
        for payload in payloads:
            if blocked := filter_.frame(payload, out):
                filter_.refuse(blocked, out)
            if filter_.done:
                break
        else:
            if not filter_.over:
                raise WardgateError("The upstream's answer broke off.")
        if blocked := filter_.flush(out):
            filter_.refuse(blocked, out)
    except WardgateError as error:
        return [*out, wire.broken(error)], True
    return [*out, filter_.ending()], False


@dataclass
class Allowed:
    """What the guards let pass of what the upstream said."""

    texts: dict[Carrier, str] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)
    """Choices."""
    asides: set[str] = field(default_factory=set)
    plain: list[str] = field(default_factory=list)
    """What is let pass of JSON, its escapes undone."""

    @classmethod
    def of(cls, lane: Lane, said: Said) -> Allowed:
        self = cls()
        for carrier, pieces in said.items():
            texts = ("".join(pieces),) if carrier.mode in (Mode.GROWING, Mode.JSON) else pieces
            if carrier.mode is Mode.PIECES and (r := alone(lane, "".join(pieces))).blocked | r.redacted:
                texts = ("".join(pieces),)
            releases = [alone(lane, text, carrier.mode) for text in texts]
            if any(r.blocked for r in releases) and carrier.mode is not Mode.SEEN:
                self.blocked.add(carrier.choice)
            if carrier.mode in JSONS:
                self.plain += [alone(lane, unescaped(text)).text for text in texts]
            self.asides |= {r.text for r in releases} if carrier.mode in ASIDES else set()
            seen = carrier.mode is Mode.SEEN
            self.texts[carrier] = "".join(r.text for r in releases if not (r.blocked and seen))
        return self

    def check(self, said: Said, refused: set[int], *, broken: bool) -> None:
        """No carrier says anything else, and one of a choice that came to its end says it all."""
        asides = self.asides.union(self.texts.values())
        for carrier, pieces in said.items():
            if carrier.mode in LOOSE:
                if carrier.mode is not Mode.SEEN and not asides.issuperset(pieces):
                    assert carrier.choice in refused
                    assert all(any(text.startswith(p) for text in (*asides, REFUSAL)) for p in pieces)
                continue
            told, may = "".join(pieces), self.texts.get(carrier, "")
            if carrier.choice in refused and not may.startswith(told):
                told = told.removesuffix(REFUSAL)
            whole = not broken and carrier.choice not in refused
            assert told == may if whole else may.startswith(told), (carrier, may, told)
        if not broken:
            assert {c for c in self.blocked if c != APART} == refused
            silent = {c for c, text in self.texts.items() if text and c.choice not in refused and c not in said}
            assert not {c for c in silent if c.mode not in LOOSE}

    def hidden(self, chance: Chance) -> list[str]:
        """The secrets of which no carrier says anything."""
        texts = [text for carrier, text in self.texts.items() if carrier.mode not in JSONS]
        shown = bare("\0".join([*texts, *self.plain]))
        return [own for own in chance.planted if own not in shown]


def unescaped(raw: str) -> str:
    """What JSON says, be it broken. Not as the gateway reads it: that is under test."""
    try:
        return "\0".join(strings(json.loads(raw)))
    except ValueError:
        return ESCAPES.sub(lambda m: bytes.fromhex(m[0].replace("\\u", "")).decode("utf-16-be", "replace"), raw)


def strings(node: Any) -> Iterator[str]:
    """Every string in it, keys and bytes too."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from strings(value)
    elif isinstance(node, list):
        if node and all(type(b) is int and 0 <= b < 256 for b in node):
            yield bytes(node).decode(errors="replace")
        for value in node:
            yield from strings(value)


def leaked(hidden: Sequence[str], raw: bytes, said: Said) -> list[str]:
    """The hidden secrets that a reader of the bytes finds: as they stand, in a carrier's pieces, or one by one."""
    if not hidden:
        return []
    texts = {c: "".join(dict.fromkeys(pieces) if c.mode in ASIDES else pieces) for c, pieces in said.items()}
    plain = [unescaped(text) for carrier, text in texts.items() if carrier.mode in JSONS]
    seen = bare("\0".join([raw.decode(), *texts.values(), *plain]))
    return [own for own in hidden if own in seen]


def payloads_of(frames: Sequence[bytes]) -> list[Any]:
    """The data of frames, parsed."""
    datas = [f.rpartition(b"data: ")[2] if f.startswith(b"data: ") else f.partition(b"\ndata: ")[2] for f in frames]
    return [orjson.loads(d) for d in datas if d != b"[DONE]"]


def frames_of(out: Sequence[bytes]) -> list[bytes]:
    return [f for f in b"".join(out).split(b"\n\n") if f]
