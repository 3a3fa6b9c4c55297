"""Lanes and texts for the tests of the stream filter: every exact kind at once."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

from guards.catalog import build_lanes
from guards.lane import Lane
from guards.policy import Policy, Rule, SystemPrompt
from guards.stream import Release, TextFilter
from guards.text.fold import Folder
from guards.verdict import Action

FOLDER = Folder.new()
PROMPT = (
    "You are ACME's careful assistant. Never tell anyone about the purple unicorn in the basement, nor the code 7781. "
    "Answer in one sentence."
)
TERMS = ("damn", "foo bar", "c++", "ярд", "naïve", "the quick br", "秘密")


def rule(name: str, kind: str, action: Action = Action.REDACT, **keys: object) -> Rule:
    return Rule.model_validate({"name": name, "kind": kind, "action": str(action), **keys})


def every_kind(*, block: bool) -> Lane:
    """All exact kinds; with `block`, some of them cut the text."""
    cut = Action.BLOCK if block else Action.REDACT
    guards = (
        rule("secrets", "secrets"),
        rule("pii", "pii"),
        rule("codename", "pattern", pattern=r"Project [A-Z]\w{2,20}|x{3,9}y"),
        rule("overlap", "pattern", pattern=r"[ab]{2,5}c|\bzeta\b|4111 1111", ignore_case=True),
        rule("terms", "denylist", terms=TERMS),
        rule("hidden", "unicode"),
        rule("flagged", "pattern", Action.FLAG, pattern=r"lorem|\d{3}-\d{2}"),
        rule("leak", "prompt_leak", cut),
        rule("long", "length", max_chars=1500),
        rule("marker", "pattern", cut, pattern="SKLONGx{2,60}END"),
    )
    prompt = SystemPrompt(text=PROMPT)
    return build_lanes(Policy(name="p", system_prompt=prompt, guards=guards), "output", FOLDER).enforced


def whole(lane: Lane, text: str) -> Release:
    return TextFilter.new(lane, FOLDER).feed(text, final=True)


def found(releases: list[Release]) -> list[tuple[int, int, int, str]]:
    return sorted((d.match.start, d.match.end, d.rule, d.match.entity) for r in releases for d in r.decisions)


def feed_all(lane: Lane, pieces: list[str]) -> list[Release]:
    filter_ = TextFilter.new(lane, FOLDER)
    releases = [filter_.feed(piece) for piece in pieces]
    return [*releases, filter_.feed("", final=True)]


def cut(text: str, r: random.Random) -> list[str]:
    pieces, at = [], 0
    while at < len(text):
        size = r.choice((1, 1, 2, 3, 4, 6, 8, 12, 40))
        pieces.append(text[at : at + size])
        at += size
    return pieces


VOCABULARY = """the quick brown fox contact me at version 3.1.4 call 2024-01-05 total 1,234 sk- AKIA and or user@
host.com 10.0 lorem damn Damn DÄMN dаmn foo c++ c ярд naïve naive xxxy xxx aac abc abcab zeta zetas face: ::1 password=
token: eyJ -----BEGIN GB29 +44 (212) ghp_ https:// a@b 🙂 e\u0301 ﬁ"""
WORDS = VOCABULARY.split()
FINDS = (
    "john.doe@example.co.uk",
    "a@b.io",
    "jоhn@exаmple.com",
    "ｊｏｅ@x.org",
    "a\u200b@b.io",
    "4111 1111 1111 1111",
    "５５００-0000-0000-0004",
    "5500000000000004",
    "123-45-6789",
    "192.168.1.77",
    "2001:db8::ff00:42:8329",
    "+44 20 7946 0958",
    "(212) 555-2368",
    "GB29 NWBK 6016 1331 9268 19",
    "DE89370400440532013000",
    "foo bar",
    "Project Zebra",
    "the quick brown",
    "paypаl",
    "\u200b\u200b",
    "\u202e",
    "a\u200db",
    "\U000e0041\U000e0042",
    "秘密",
    'password = "tR4v9LmQ2xZ8cW7yB1nK"',
    "https://bob:hunter2secret9@db.example.com",
)


def document(r: random.Random) -> str:
    """A text with things to find, things that nearly are, and things that hide others."""
    parts = [_part(r) for _ in range(r.randint(4, 40))]
    return r.choice((" ", " ", ", ", "\n", "")).join(parts)


def _part(r: random.Random) -> str:
    makers: tuple[tuple[float, Callable[[], str]], ...] = (
        (0.22, lambda: r.choice(FINDS)),
        (0.25, lambda: "AKIA" + "".join(r.choices(string.ascii_uppercase + "234567", k=16))),
        (0.28, lambda: "ghp_" + "".join(r.choices(string.ascii_letters + string.digits, k=36))),
        (0.32, lambda: PROMPT[r.randint(0, 90) :][: r.randint(10, 90)]),
        (0.33, lambda: PROMPT.upper().replace(" ", "_")),
        (0.35, lambda: "SKLONG" + "x" * r.randint(1, 70) + "END"),
    )
    x = r.random()
    return next((make() for limit, make in makers if x < limit), None) or r.choice(WORDS)
