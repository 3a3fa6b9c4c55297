"""Logs as JSON lines on stderr. They carry no prompt text and no key."""

from __future__ import annotations

import logging
import sys
import time

import orjson


class JSONLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            row["error"] = self.formatException(record.exc_info)
        return orjson.dumps(row).decode()


def configure(level: str) -> None:
    """Send everything to stderr as JSON; unknown levels mean `info`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines())
    known = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    logging.basicConfig(level=known, handlers=[handler], force=True)
