"""A text that grows piece by piece, and is read from its end."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Written:
    """What a model wrote in one place, as it wrote it."""

    pieces: list[str] = field(default_factory=list)
    size: int = 0
    """Characters."""
    told: int = 0
    """Pieces that the flag log has."""

    def add(self, piece: str) -> None:
        self.pieces.append(piece)
        self.size += len(piece)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def tail(self, chars: int) -> str:
        """The last `chars` characters, at a cost that does not grow with the text."""
        found: list[str] = []
        missing = chars
        for piece in reversed(self.pieces):
            if missing <= 0:
                break
            found.append(piece)
            missing -= len(piece)
        text = "".join(reversed(found))
        return text[-chars:] if chars > 0 else ""

    def untold(self) -> str:
        """What was written since the last call."""
        fresh = "".join(self.pieces[self.told :])
        self.told = len(self.pieces)
        return fresh
