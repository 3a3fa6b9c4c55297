"""Lots: which exchanges are looked at by chance, and not for what a guard said."""

from __future__ import annotations

import hashlib


def drawn(seed: str, id: str, share: float) -> bool:
    """Whether the lot falls on it, with the probability `share`; the same for the same seed and id.

    SHA-256 spreads ids evenly whatever their form, so that a client who chooses ids cannot tell from one to the next.
    """
    first = hashlib.sha256(f"{seed}\0{id}".encode("utf-8", "surrogatepass")).digest()[:8]
    return int.from_bytes(first) < share * 2.0**64
