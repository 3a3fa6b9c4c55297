"""Lists of folders, and whether a path lies in one of them, however it is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import unquote

MAX_PATH = 4096
DECODINGS = 8
"""How often codes may stand inside codes; deeper ones have no honest use."""
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""Of a URL. A single letter before a colon is a drive."""
DRIVE = re.compile(r"[A-Za-z]:")
HIDDEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})
"""Categories of characters that one program drops where another keeps them."""


@dataclass(frozen=True, slots=True)
class Folder:
    parts: tuple[str, ...]
    """The first is the root: `/`, a drive, or nothing for a relative folder."""

    def holds(self, parts: tuple[str, ...]) -> bool:
        wanted = self.parts
        return len(parts) >= len(wanted) and all(fnmatchcase(p, w) for p, w in zip(parts, wanted, strict=False))


@dataclass(frozen=True, slots=True)
class PathList:
    """Folders and files that are allowed; what lies in a folder is allowed with it."""

    folders: tuple[Folder, ...]

    @classmethod
    def of(cls, entries: Iterable[str]) -> PathList:
        """From `/srv/data`, `/home/*/public` (`*` within one name), `data` or `.` (relative), `C:/data`."""
        return cls(tuple(Folder(folder_parts(e)) for e in entries))

    def allows(self, path: str) -> bool:
        """Whether every way to read the path leads into the list: as it is, decoded, and with look-alike forms undone.

        `..` is undone as text; where links lead only the tool itself can know.
        """
        if not path or len(path) > MAX_PATH:
            return False
        return all(self._inside(reading) for reading in readings(path))

    def _inside(self, path: str) -> bool:
        parts = parts_of(path)
        return parts is not None and any(f.holds(parts) for f in self.folders)


class PathError(ValueError):
    """Not a folder that can be listed."""


def folder_parts(entry: str) -> tuple[str, ...]:
    parts = parts_of(entry.strip())
    if parts is None:
        raise PathError("is not a folder, such as /srv/data, /home/*/public, data or C:/data")
    return parts


def readings(path: str) -> set[str]:
    """The path, and what programs that undo percent codes or compatibility forms, in any order, make of it."""
    found, fresh = {path}, [path]
    for _ in range(DECODINGS):
        made = {r for t in fresh for r in (unquote(t, errors="replace"), unicodedata.normalize("NFKC", t))}
        fresh = list(made - found)
        found |= made
        if not fresh:
            return found
    return {""}  # which lies nowhere


def parts_of(path: str) -> tuple[str, ...] | None:
    """Root and names, `.` and `..` undone; None for what is no plain path, or climbs above its root."""
    if not path or any(unicodedata.category(c) in HIDDEN for c in path):
        return None
    text = path.replace("\\", "/")
    if text.startswith("//") or SCHEME.match(text):
        return None
    root = "/" if text.startswith("/") else ""
    if DRIVE.match(text):
        if text[2:3] != "/":
            return None  # relative to a folder of that drive that nobody here knows
        root, text = text[:2].upper(), text[2:]
    return _walked(root, text)


def _walked(root: str, text: str) -> tuple[str, ...] | None:
    names: list[str] = []
    for name in text.split("/"):
        if name == "..":
            if not names:
                return None
            names.pop()
        elif name not in ("", "."):
            if not name.strip(". ") or (not root and not names and name.startswith("~")):
                return None  # dots and blanks that some systems drop; a home folder is no relative one
            names.append(name)
    return (root, *names)
