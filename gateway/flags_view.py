"""What `wardgate flags` prints."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

import orjson
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.live.flags import FlagLog
from gateway.live.sealing import Sealing
from gateway.reach import ask
from gateway.settings import Settings
from gateway.vault import vault_of

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
COLOURS = {"block": "bold red", "redact": "yellow", "flag": "cyan", "allow": "dim"}


ROOMY = 100
"""Columns from which on a table shows the tenant."""


def parse_since(text: str | None, now: float) -> float | None:
    """Unix time of an age (`30m`) or an ISO 8601 time (UTC unless it says otherwise)."""
    if text is None:
        return None
    if age := re.fullmatch(r"(\d+)([smhd])", text):
        return now - int(age[1]) * UNITS[age[2]]
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"--since {text!r}: write an age such as 30m, 2h, 7d, or a time such as 2026-01-31T12:00"
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def print_list(settings: Settings, *, as_json: bool, limit: int, since: str | None) -> None:
    after = parse_since(since, time.time())
    rows = ask(settings, lambda redis: FlagLog(redis).list(limit, after))
    if as_json:
        for row in rows:
            sys.stdout.write(orjson.dumps(row).decode() + "\n")
        return
    console = Console()
    console.print(table(rows, console.width))


def table(rows: Any, width: int) -> Table:
    """Flag heads as a table; ids stay whole so that they can be copied, and a narrow terminal is spared the tenant."""
    names = ("time", "id", "action", "categories", "model", "tenant")
    view = Table(box=None, header_style="bold", pad_edge=False)
    for name in names if width >= ROOMY else names[:-1]:
        view.add_column(name, no_wrap=name != "model", overflow="ellipsis")
    for row in rows:
        action = str(row.get("action") or "")
        texts = [
            Text(str(row["time"])[5:19].replace("T", " ")),
            Text(str(row["id"])),
            Text(action, COLOURS.get(action, "")),
            Text(", ".join(row.get("categories") or [])),
            Text(str(row.get("model") or "")),
            Text(str(row.get("tenant") or "")),
        ]
        view.add_row(*texts[: len(view.columns)])
    return view


def opened(redis: Redis, settings: Settings) -> FlagLog:
    """The flag log with its texts unsealed, where this process has the keys."""
    return FlagLog(redis, sealing=Sealing(vault_of(redis, settings.encryption_keys)))


def print_flag(settings: Settings, id: str) -> bool:
    found = ask(settings, lambda redis: opened(redis, settings).show(id))
    if found is None:
        return False
    sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
    return True
