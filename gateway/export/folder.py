"""The files of a training set: there all at once, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson


class ExportError(Exception):
    """A mistake in the arguments; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Files are written beside `target` and moved there at the end. They hold users' texts: only the owner reads."""

    target: Path
    work: Path

    @classmethod
    def beside(cls, target: Path) -> Folder:
        target = target.absolute()
        if target.exists():
            raise ExportError(f"{target} is there already: choose a folder that is not")
        if not target.parent.is_dir():
            raise ExportError(f"{target.parent} is no folder: make it first")
        try:
            return cls(target, Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)))
        except OSError as error:
            raise ExportError(f"nothing can be written in {target.parent}: {error.strerror}") from None

    def write(self, name: str, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """JSON lines. Their number, size in bytes and SHA-256. ExportError where the disk is full."""
        try:
            return self._keep(name, (orjson.dumps(row) + b"\n" for row in rows))
        except OSError as error:
            raise ExportError(f"{self.target} could not be written: {error.strerror}") from None

    def manifest(self, data: dict[str, Any]) -> None:
        self._keep("manifest.json", [orjson.dumps(data, option=orjson.OPT_INDENT_2) + b"\n"])

    def publish(self) -> None:
        """ExportError where somebody else was faster."""
        sync(self.work)
        try:
            self.work.rename(self.target)
        except OSError as error:
            raise ExportError(f"{self.target} could not be written: {error.strerror}") from None
        sync(self.target.parent)

    def discard(self) -> None:
        with suppress(OSError):
            shutil.rmtree(self.work)

    def _keep(self, name: str, lines: Iterable[bytes]) -> dict[str, Any]:
        digest, size, rows = hashlib.sha256(), 0, 0
        with open(os.open(self.work / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for line in lines:
                file.write(line)
                digest.update(line)
                size += len(line)
                rows += 1
            file.flush()
            os.fsync(file.fileno())
        return {"rows": rows, "bytes": size, "sha256": digest.hexdigest()}


def sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
