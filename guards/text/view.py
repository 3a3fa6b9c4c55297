"""A window of text read another way, with the way back to raw indices."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from guards.guard import Window
from guards.text.fold import Folder


class View(NamedTuple):
    """`text[low:]` is the undecided part; `text[:low]` is at most one decided character, for look-behinds."""

    text: str
    low: int
    offsets: list[int] | None
    """Index in `text` -> index in the window's text; None when they are the same."""

    def at(self, window_index: int) -> int:
        """The first index of the view that came from `window_index` or later."""
        return window_index if self.offsets is None else bisect_left(self.offsets, window_index)

    def raw(self, index: int) -> int:
        return index if self.offsets is None else self.offsets[index]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The window's span that a non-empty span of the view came from."""
        if self.offsets is None:
            return start, end
        return self.offsets[start], self.offsets[end - 1] + 1


def raw_view(window: Window) -> View:
    return View(window.text, window.low, None)


def folded_view(window: Window, folder: Folder) -> View:
    """The window as `folder` shows it; the same object costs nothing where the text is plain ASCII."""
    if window.text.isascii() and window.shown.isascii():
        return View(folder.fold(window.text), window.low, None)
    rest = window.text[window.low :]
    before = folder.fold(window.shown)[-1:]
    offsets = [window.low - 1] * len(before) + [i + window.low for i in folder.offsets(rest)]
    return View(before + folder.fold(rest), len(before), offsets)
