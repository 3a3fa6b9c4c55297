"""Near duplicates, by MinHash (Broder 1997) with bands (Leskovec et al., Mining of Massive Datasets, 3.4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
GRAM = 6
"""Characters of a shingle: works for scripts without spaces too."""
PERMUTATIONS = 128
BANDS = 16
"""Of 8 values each: texts that share 80 % of their shingles meet in some band with a probability of 95 %."""
SIMILAR = 0.8
"""Estimated Jaccard similarity from which on two texts are one."""
BASE = 0x9E3779B97F4A7C15
MIX = 0xBF58476D1CE4E5B9
SEED = 20260101


def shingles(text: str) -> Hashes:
    """A hash of every run of `GRAM` characters, each once; case and spacing do not count."""
    folded = " ".join(text.casefold().split()).ljust(GRAM)
    points = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    total = np.zeros(len(points) - GRAM + 1, dtype=np.uint64)
    for shift in range(GRAM):
        total = total * np.uint64(BASE) + points[shift : shift + len(total)]
    total ^= total >> np.uint64(31)
    total *= np.uint64(MIX)
    return np.unique(total ^ (total >> np.uint64(29)))


def signature(text: str) -> Hashes:
    """The least of its shingles under each of `PERMUTATIONS` multiply-add hashes."""
    known = shingles(text)
    random = np.random.default_rng(SEED)
    factors = random.integers(1, 1 << 63, PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = random.integers(0, 1 << 63, PERMUTATIONS, dtype=np.uint64)
    least = [
        ((known * factor + offset) >> np.uint64(16)).min() for factor, offset in zip(factors, offsets, strict=True)
    ]
    return np.array(least, dtype=np.uint64)


def similarity(one: Hashes, other: Hashes) -> float:
    """Estimated share of shingles that both have, of those that either has."""
    return float(np.mean(one == other))


@dataclass(slots=True)
class Seen:
    """The texts so far, each under a label."""

    kept: list[tuple[str, Hashes]] = field(default_factory=list)
    bands: defaultdict[tuple[int, bytes], list[int]] = field(default_factory=lambda: defaultdict(list))

    def like(self, text: str, label: str) -> str | None:
        """The label of an earlier text like this one; None: it is new, and kept from now on."""
        mine = signature(text)
        keys = [(i, part.tobytes()) for i, part in enumerate(np.split(mine, BANDS))]
        for at in self._candidates(keys):
            known, other = self.kept[at]
            if similarity(mine, other) >= SIMILAR:
                return known
        for key in keys:
            self.bands[key].append(len(self.kept))
        self.kept.append((label, mine))
        return None

    def _candidates(self, keys: Sequence[tuple[int, bytes]]) -> list[int]:
        return sorted({at for key in keys if key in self.bands for at in self.bands[key]})
