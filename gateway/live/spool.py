"""Where flags wait on disk while Redis is away: one file a part, synced before it counts."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import orjson

from gateway.exchange import FlagPart

LOG = logging.getLogger(__name__)

RECOUNT_AFTER = 10.0
"""Seconds. Other processes write into the same folder; what they add is seen this late at most."""
LEFTOVER_AFTER = 600.0
"""Seconds. An unfinished file this old is of a writer that was killed: nobody was told that it is safe."""
LONGEST_NAME = 120
SUFFIX = ".json"


SETTLED_AFTER = 1_000_000_000
"""Nanoseconds since a folder's last change from which on its time of change tells of the next one."""


class SpoolFull(OSError):
    """The spool holds as much as it may."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        super().__init__(errno.ENOSPC, f"the spool holds its {max_bytes} bytes", str(folder))


class Spool:
    """Parts in a folder that several processes may share. All methods block; any thread may call them."""

    def __init__(self, folder: Path, max_bytes: int = 1 << 30) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = 0
        self._count = 0
        self._counted = float("-inf")
        self._unreadable: set[str] = set()
        self._empty_since: int | None = None
        """The folder's time of change when it was last seen empty, in ns; 0: it did not exist."""

    @property
    def quiet(self) -> bool:
        """Nothing has come since the folder was seen empty. Costs one look at it, and never blocks for long."""
        return self._empty_since is not None and self._changed() == self._empty_since

    def _changed(self) -> int:
        try:
            return self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    @property
    def count(self) -> int:
        """Parts that wait, as of the last look at the folder."""
        return self._count

    @property
    def unreadable(self) -> int:
        """Files that were passed over; they stay where they are."""
        return len(self._unreadable)

    def write(self, part: FlagPart) -> None:
        """Returns once the part would survive a power cut; raises OSError (SpoolFull among them) otherwise."""
        data = orjson.dumps({"id": part.id, "seq": part.seq, "at": part.at, "body": part.body})
        self._make_room(len(data))
        target = self._folder / file_name(part)
        unfinished = self._folder / f".{uuid.uuid4().hex}.tmp"
        try:
            write_synced(unfinished, data)
            unfinished.replace(target)
            sync(self._folder)
        except OSError:
            self._give_back(len(data))
            self._counted = float("-inf")  # the next write looks at the folder anew: it may be gone
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise

    def parts(self) -> Iterator[FlagPart]:
        """What waits, oldest first. Files that cannot be read are logged once, and passed over."""
        for name in self._names():
            part = self._read(name)
            if part is not None:
                yield part

    def remove(self, part: FlagPart) -> bool:
        """False where another process was faster."""
        path = self._folder / file_name(part)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return False
        self._give_back(size)
        return True

    def _names(self) -> list[str]:
        changed = self._changed()
        try:
            names = sorted(name for name in os.listdir(self._folder) if name.endswith(SUFFIX))
        except FileNotFoundError:  # nothing was ever spooled
            names = []
        waiting = [name for name in names if name not in self._unreadable]
        with self._lock:
            self._count = len(waiting)
        # File systems keep coarse time: a change right after another might not show.
        settled = not waiting and time.time_ns() - changed > SETTLED_AFTER
        self._empty_since = changed if settled else None
        return waiting

    def _read(self, name: str) -> FlagPart | None:
        try:
            row = orjson.loads((self._folder / name).read_bytes())
            return FlagPart(id=row["id"], seq=row["seq"], at=row["at"], body=row["body"])
        except FileNotFoundError:  # another process has drained it meanwhile
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._unreadable.add(name)
            LOG.error("the spool holds a file that cannot be read: %s (%s)", self._folder / name, type(error).__name__)
            return None

    def _make_room(self, size: int) -> None:
        with self._lock:
            if time.monotonic() - self._counted > RECOUNT_AFTER or self._bytes + size > self._max_bytes:
                self._recount()
            if self._bytes + size > self._max_bytes:
                raise SpoolFull(self._folder, self._max_bytes)
            self._bytes += size
            self._count += 1

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._bytes = max(0, self._bytes - size)
            self._count = max(0, self._count - 1)

    def _recount(self) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync(self._folder.parent)
        self._bytes = 0
        self._count = 0
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                self._count_in(entry)
        self._counted = time.monotonic()

    def _count_in(self, entry: os.DirEntry[str]) -> None:
        seen = entry.stat()
        if entry.name.endswith(".tmp") and time.time() - seen.st_mtime > LEFTOVER_AFTER:
            LOG.warning("removing an unfinished file from the spool: %s", entry.name)
            Path(entry.path).unlink(missing_ok=True)
            return
        self._bytes += seen.st_size
        self._count += entry.name.endswith(SUFFIX) and entry.name not in self._unreadable


def file_name(part: FlagPart) -> str:
    """Sorts by time; safe in any file system, whatever the id holds."""
    id = quote(part.id, safe="")
    if len(id) > LONGEST_NAME:
        id = f"{id[:40]}~{hashlib.sha256(part.id.encode()).hexdigest()}"
    return f"{part.at:020.6f}-{id}-{part.seq:08d}{SUFFIX}"


def write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Makes the names in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
