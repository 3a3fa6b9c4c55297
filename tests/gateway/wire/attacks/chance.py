"""Random texts with planted secrets in many guises, cut anyhow, as text, as JSON and as tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from guards.text.fold import Folder

TERMS = ("windbag", "quockerwodger", "foo bazzle", "naïve zyx")
"""What the denylist holds."""
PATTERN = r"Project [A-Z]\w{2,20}"
WORDS = ("so", "it is", "a", "Project", "@", "1.5", "é", "🙂", "你好", "Pro", "wind", "zq@", "\n", '"', "\\", "</s>")
ALPHABET = "zqxkvw79"
HIDDEN = ("\u200b", "\u2060", "\u00ad")
MARKS = "\u0301\u0336"
LOOK_ALIKES = str.maketrans("aeopcxyABEKMHOPCTX", "аеорсхуАВЕКМНОРСТХ")
SIZES: Sequence[Sequence[int]] = ((1,), (1, 2, 5), (0, 2, 8), (4, 9), (100,))
"""Of the pieces of a text."""
JSONS = ('{"to": "%s"}', '{"a": [1, {"b": "%s"}], "c": null}', '["%s", "x"]', '{"to": "%s')
READER = Folder.new(lower=True)


def bare(text: str) -> str:
    """What a reader sees, blanks aside."""
    return "".join(READER.fold(text).split()).replace("▁", "")


@dataclass
class Chance:
    """Everything that is random in a case."""

    r: random.Random
    planted: set[str] = field(default_factory=set)
    """The part of each secret that is its own, as a reader sees it."""

    def often(self, share: float) -> bool:
        return self.r.random() < share

    def secret(self) -> str:
        r, kind = self.r, self.r.random()
        own = "".join(r.choices(ALPHABET, k=5))
        if kind < 0.4:
            plain = f"{own}@{r.choice(ALPHABET)}{r.choice(ALPHABET)}.com"
        elif kind < 0.8:
            own = r.choice("ZQXKV") + own
            plain = f"Project {own}"
        else:
            plain = own = r.choice(TERMS)
        self.planted.add(bare(own))
        return self.disguised(plain)

    def disguised(self, plain: str) -> str:
        r, guise = self.r, self.r.random()
        if guise < 0.4:
            return plain
        if guise < 0.5:
            return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" and r.random() < 0.6 else c for c in plain)
        if guise < 0.6:
            return "".join(c.translate(LOOK_ALIKES) if r.random() < 0.5 else c for c in plain)
        if guise < 0.75:
            return "".join(c + r.choice(HIDDEN) * (r.random() < 0.3) for c in plain)
        if guise < 0.85:
            return "".join(c + r.choice(MARKS) * (c.isalpha() and r.random() < 0.3) for c in plain)
        return r.choice((plain.upper(), plain.lower(), plain.title(), plain.swapcase()))

    def text(self, most: int = 2) -> str:
        r = self.r
        parts = [self.secret() if r.random() < 0.5 else r.choice(WORDS) for _ in range(r.randint(0, most))]
        return r.choice((" ", " ", " ", "", ". ")).join(parts)

    def cut(self, text: str) -> list[str]:
        """Pieces, some of them empty."""
        r, at, pieces = self.r, 0, list[str]()
        sizes = r.choice(SIZES)
        while at < len(text):
            size = r.choice(sizes)
            pieces.append(text[at : at + size])
            at += size
        return pieces

    def json(self, text: str) -> str:
        """Arguments that say the text, with escapes where there need be none; some are cut off."""
        r = self.r
        said = "".join(escaped(c) if c in '"\\\n' or r.random() < 0.2 else c for c in text)
        return r.choice(JSONS) % said

    def tokens(self, text: str) -> list[str]:
        """As a tokenizer cuts it: some lose blanks, some characters, some say something else."""
        r, trick = self.r, self.r.random()
        pieces = self.cut(text) if r.random() < 0.5 else [text]
        if trick < 0.4:
            return pieces
        if trick < 0.6:
            return [p.replace(" ", "") for p in pieces]
        if trick < 0.7:
            return [p.replace(" ", "▁") for p in pieces]
        if trick < 0.8:
            return [p if p.isascii() else "\ufffd" for p in pieces]
        return [p if r.random() < 0.7 else r.choice((self.secret(), "<|x|>", "", "bytes:\\xe2")) for p in pieces]

    def entry(self, token: str) -> dict[str, Any]:
        """A token's logprobs, as chat has them."""
        r = self.r
        octets = list((token if r.random() < 0.9 else self.secret()).encode()) if r.random() < 0.5 else None
        others = [self.alternative() for _ in range(r.choice((0, 0, 2)))]
        more = {"note": self.secret()} if r.random() < 0.05 else {}
        return {"token": token, "logprob": -0.5, "bytes": octets, "top_logprobs": others, **more}

    def alternative(self) -> dict[str, Any]:
        token = self.secret() if self.often(0.3) else self.r.choice(WORDS)
        return {"token": token, "logprob": -2.0, "bytes": list(token.encode())}

    def mixed(self, *lists: Sequence[Any]) -> list[Any]:
        """All of them in one list, each in its own order."""
        turns = [i for i, items in enumerate(lists) for _ in items]
        self.r.shuffle(turns)
        rest = [iter(items) for items in lists]
        return [next(rest[i]) for i in turns]


def escaped(c: str) -> str:
    """As JSON may write any character, in two escapes beyond the basic plane."""
    units = c.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
