"""What `wardgate keys` does and prints."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.live.keys import ID, Key, KeyStore, Role, UnknownName, make
from gateway.reach import ask
from gateway.settings import Settings


class NoSuchKey(Exception):
    """The message says what to write instead."""


def new_key(settings: Settings, tenant: str, role: Role) -> tuple[str, Key]:
    """Make a key live: the key itself, and what is kept of it."""
    secret, key = make(tenant, role, time.time())
    ask(settings, lambda redis: KeyStore(redis).add(key), begin=True)
    return secret, key


def revoke_key(settings: Settings, name: str) -> Key:
    try:
        return ask(settings, lambda redis: KeyStore(redis).revoke(name))
    except UnknownName as error:
        if error.meant:
            ids = ", ".join(key.id for key in error.meant)
            raise NoSuchKey(f"that means several keys: {ids}; write more of the id") from None
        raise NoSuchKey(
            f"no live key has that id or beginning; `wardgate keys list` shows them (ids have {ID} digits). "
            "A key of the config is revoked by removing its hash there."
        ) from None


def print_keys(settings: Settings, *, as_json: bool) -> None:
    """Newest last; the revoked ones too."""
    keys = ask(settings, lambda redis: KeyStore(redis).list())
    if as_json:
        for key in keys:
            sys.stdout.write(orjson.dumps(row(key)).decode() + "\n")
        return
    view = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("id", "begins", "tenant", "role", "created", "revoked"):
        view.add_column(name, no_wrap=True)
    for key in keys:
        cells = {**row(key), "created": day(key.created), "revoked": day(key.revoked)}
        view.add_row(*(Text(str(cell), "dim" if key.revoked else "") for cell in cells.values()))
    Console().print(view)


def row(key: Key) -> dict[str, str | None]:
    return {
        "id": key.id,
        "begins": key.begins,
        "tenant": key.tenant,
        "role": key.role,
        "created": moment(key.created),
        "revoked": moment(key.revoked),
    }


def moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def day(at: float | None) -> str:
    return (moment(at) or "")[:16].replace("T", " ")
