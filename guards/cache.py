"""Remembered scores: what a classifier once said of a text need not be asked again.

Kept are scores alone, of whole texts with all their readings: thresholds and actions are applied afterwards, so that a
change of them needs nothing new. Failures are no scores, and never come here.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from classifiers.classifier import Sample, Scores

REVISION = 2
"""Raised when other readings of a text are scored, or its scores are put together in another way."""
SOURCE = 8
"""Bytes of a digest of what an operator chose."""
PRINT = 24
"""Bytes of a digest of what anybody may have written: nobody finds two texts with the same one."""


class VerdictCache(Protocol):
    """Keeps bytes under opaque keys of one length, for a while. It may forget anything, and never fails."""

    def get_many(self, keys: Sequence[bytes]) -> Awaitable[Sequence[bytes | None]]:
        """What is known of each key, in order. All None where the cache is away.

        The question leaves with the call. Its answer may be awaited once, later or never.
        """

    def put_many(self, found: Mapping[bytes, bytes]) -> None:
        """Returns at once; what cannot be kept is lost."""


@dataclass(frozen=True, slots=True)
class Memo:
    """How the scores of one classifier are remembered."""

    source: bytes
    """Digest of all that makes the scores of a text: the classifier, its version and its categories."""
    names: tuple[str, ...]
    """Its categories, in the order in which scores are packed."""
    packed: struct.Struct = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packed", struct.Struct(f"<{len(self.names)}f"))

    @classmethod
    def of(cls, scope: str, source: str, version: str, categories: Collection[str]) -> Memo:
        """`scope`: policies of different scopes do not share what they know, or one could ask what another has seen."""
        names = tuple(sorted(categories))
        return cls(digest(repr((REVISION, scope, source, version, names)), SOURCE), names)

    def key(self, text: bytes) -> bytes:
        """The key of a text, given by its `fingerprint`."""
        return self.source + text

    def pack(self, scores: Scores) -> bytes | None:
        """None for scores that would not come back as they were: unknown categories, and what is no probability."""
        if not scores or not scores.keys() <= set(self.names) or not all(0 <= v <= 1 for v in scores.values()):
            return None
        return self.packed.pack(*(scores.get(name, math.nan) for name in self.names))

    def unpack(self, data: bytes) -> Scores | None:
        """None for anything but probabilities: what others can write to is not taken on trust."""
        if len(data) != self.packed.size:
            return None
        scores = dict(zip(self.names, self.packed.unpack(data), strict=True))
        if math.isnan(sum(scores.values())):
            scores = {name: v for name, v in scores.items() if not math.isnan(v)}
        return scores if scores and min(scores.values()) >= 0 and max(scores.values()) <= 1 else None


@dataclass(frozen=True, slots=True)
class Recall:
    """What a cache is asked about some texts: one question, whatever the number of texts and classifiers."""

    keys: Mapping[bytes, Sequence[bytes]]
    """Source of a memo -> the key of each text."""
    memos: Sequence[Memo]
    answer: Awaitable[Sequence[bytes | None]]

    @classmethod
    def begin(cls, cache: VerdictCache, memos: Sequence[Memo], samples: Iterable[Sample]) -> Recall:
        """The question leaves now."""
        prints = [fingerprint(sample) for sample in samples]
        keys = {memo.source: [memo.key(each) for each in prints] for memo in memos}
        return cls(keys, memos, cache.get_many([key for memo in memos for key in dict.fromkeys(keys[memo.source])]))

    async def scores(self) -> dict[bytes, Scores]:
        """Of every key that is known. To be awaited once."""
        known: dict[bytes, Scores] = {}
        answer = iter(await self.answer)
        for memo in self.memos:
            for key, data in zip(dict.fromkeys(self.keys[memo.source]), answer, strict=False):
                scores = memo.unpack(data) if data is not None else None
                if scores is not None:
                    known[key] = scores
        return known


def fingerprint(sample: Sample) -> bytes:
    """Equal for equal samples only: role, context and text count, and none of them can be read from it."""
    head = f"{sample.role} {len(sample.prompt)} {len(sample.text)} "
    return digest(head + sample.prompt + sample.text, PRINT)


def digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
