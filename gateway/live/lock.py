"""Locks of the kernel's, on files: a process that is killed leaves none behind."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def take(path: Path, how: int) -> int | None:
    """A lock on the file, held while the descriptor, or a copy of it in a child, is open; None if not to be had."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def alone(descriptor: int) -> bool:
    """Whether nobody else shares the lock; if so, none can until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
