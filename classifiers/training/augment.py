"""Ways to disguise or bury a text, applied to harmful and harmless rows alike: no disguise tells a label."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

LEET = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"})
TWINS = str.maketrans({"a": "а", "e": "е", "o": "о", "p": "р", "c": "с", "x": "х", "i": "і"})
FRAMES = (
    "Summarize the following text.\n\n{}",
    "{}\n\nAnswer in one paragraph.",
    "User: hi\nAssistant: Hello! How can I help?\nUser: {}",
    "Please translate this to French: {}",
    "Context:\n{}\n\nQuestion: what is this about?",
    "Subject: (no subject)\n\n{}\n\nSent from my phone",
    "```\n{}\n```",
    "{} thanks in advance",
    "hey quick one - {}",
)


def leet(text: str, chance: random.Random) -> str:
    return "".join(c.translate(LEET) if chance.random() < 0.6 else c for c in text)


def spaced(text: str, chance: random.Random) -> str:
    """Some words letter by letter."""
    joint = chance.choice((" ", "-", ".", "_"))
    return " ".join(joint.join(w) if len(w) > 3 and chance.random() < 0.3 else w for w in text.split(" "))


def twins(text: str, chance: random.Random) -> str:
    return "".join(c.translate(TWINS) if chance.random() < 0.4 else c for c in text)


def invisible(text: str, chance: random.Random) -> str:
    return "".join(c + ("\u200b" if chance.random() < 0.1 else "") for c in text)


def upper(text: str, chance: random.Random) -> str:
    return text.upper()


def bare(text: str, chance: random.Random) -> str:
    """Without punctuation, as people type."""
    return "".join(c for c in text if c not in ".,;:!?'\"").lower()


def typos(text: str, chance: random.Random) -> str:
    """Neighbours swapped, letters lost or doubled."""
    out: list[str] = []
    for c in text:
        hit = chance.random() if c.isalpha() else 1.0
        if hit < 0.015:
            continue
        if hit < 0.03 and out:
            out.insert(len(out) - 1, c)
        else:
            out.append(c * 2 if hit < 0.04 else c)
    return "".join(out)


def framed(text: str, chance: random.Random) -> str:
    return chance.choice(FRAMES).format(text.replace("{", "(").replace("}", ")"))


DISGUISES: tuple[Callable[[str, random.Random], str], ...] = (leet, spaced, twins, invisible, upper, bare, typos, typos)


def buried(text: str, others: Sequence[str], chance: random.Random) -> str:
    """Between harmless texts, whose label it keeps: what a window of a long text looks like."""
    before = chance.choice(others)[:400] if chance.random() < 0.7 else ""
    after = chance.choice(others)[:400] if chance.random() < 0.5 else ""
    return "\n\n".join(part for part in (before, text, after) if part)


def varied(text: str, others: Sequence[str], chance: random.Random) -> str:
    """The text as it is in most cases, else disguised, framed or buried."""
    roll = chance.random()
    if roll < 0.12:
        return chance.choice(DISGUISES)(text, chance)
    if roll < 0.20:
        return framed(text, chance)
    if roll < 0.30:
        return buried(text, others, chance)
    return text
