"""Remembered scores: what a classifier once said of a text need not be asked again.

Kept are scores alone, of whole texts with all their readings: thresholds and actions are applied afterwards, so that a
change of them needs nothing new. Failures are no scores, and never come here.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from classifiers.classifier import Sample, Scores

REVISION = 1
"""Raised when other readings of a text are scored, or its scores are put together in another way."""
DIGEST = 32
"""Bytes."""


class VerdictCache(Protocol):
    """Keeps bytes under opaque keys, for a while. It may forget anything, and never fails."""

    async def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """What is known of each key, in order. All None where the cache is away."""

    def put_many(self, found: Mapping[bytes, bytes]) -> None:
        """Returns at once; what cannot be kept is lost."""


@dataclass(frozen=True, slots=True)
class Memo:
    """How the scores of one classifier are remembered."""

    source: bytes
    """Digest of all that makes the scores of a text: the classifier, its version and its categories."""
    names: tuple[str, ...]
    """Its categories, in the order in which scores are packed."""

    @classmethod
    def of(cls, scope: str, source: str, version: str, categories: Collection[str]) -> Memo:
        """`scope`: policies of different scopes do not share what they know, or one could ask what another has seen."""
        names = tuple(sorted(categories))
        return cls(digest(repr((REVISION, scope, source, version, names))), names)

    def key(self, text: bytes) -> bytes:
        """The key of a text, given by its `fingerprint`."""
        return hashlib.blake2b(self.source + text, digest_size=DIGEST).digest()

    def pack(self, scores: Scores) -> bytes | None:
        """None for scores that would not come back as they were: unknown categories, and what is no probability."""
        if not scores or not scores.keys() <= set(self.names) or not all(0 <= v <= 1 for v in scores.values()):
            return None
        return struct.pack(f"<{len(self.names)}f", *(scores.get(name, math.nan) for name in self.names))

    def unpack(self, data: bytes) -> Scores | None:
        """None for anything but probabilities: what others can write to is not taken on trust."""
        if len(data) != 4 * len(self.names):
            return None
        values = struct.unpack(f"<{len(self.names)}f", data)
        scores = {name: v for name, v in zip(self.names, values, strict=True) if not math.isnan(v)}
        return scores if scores and all(0 <= v <= 1 for v in scores.values()) else None


def fingerprint(sample: Sample) -> bytes:
    """Equal for equal samples only: role, context and text count, and none of them can be read from it."""
    head = f"{sample.role} {len(sample.prompt)} {len(sample.text)} "
    return digest(head + sample.prompt + sample.text)


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()
