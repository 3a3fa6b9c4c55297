"""How somebody wants the console to look, and when to be reminded of a break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from gateway.console.form import Form

Blur = Literal["light", "medium", "strong"]
Theme = Literal["system", "light", "dark"]
BLURS: tuple[Blur, ...] = get_args(Blur)
THEMES: tuple[Theme, ...] = get_args(Theme)
BREAKS = (0, 25, 50, 90)
"""Minutes; 0: never."""
SEVERE_BREAK = 20
"""Severe cases after which a break is due as well."""


@dataclass(frozen=True, slots=True)
class Preferences:
    blur: Blur = "medium"
    """Of severe text, until it is revealed."""
    grey: bool = False
    """All of the page without colour."""
    theme: Theme = "system"
    pause: int = 50
    """Minutes of work until a break is due; 0: never."""


def read(form: Form) -> Preferences:
    """What is no choice of these is the default."""
    base = Preferences()
    blur = next((b for b in BLURS if b == form.one("blur")), base.blur)
    theme = next((t for t in THEMES if t == form.one("theme")), base.theme)
    pause = next((p for p in BREAKS if str(p) == form.one("pause")), base.pause)
    return Preferences(blur, form.one("grey") == "on", theme, pause)
