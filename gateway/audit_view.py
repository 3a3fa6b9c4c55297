"""What `wardgate audit` and `wardgate privacy` do."""

from __future__ import annotations

import getpass
import time

import typer
from redis.asyncio import Redis

from gateway.live.answers import Answers
from gateway.live.batch import Batch
from gateway.live.flags import FlagLog
from gateway.privacy import digest_of
from gateway.reach import ask
from gateway.review.ledger import Finding, Ledger
from gateway.review.queue import ReviewQueue
from gateway.review.records import Gone, Records
from gateway.settings import Settings
from gateway.vault import vault_of


def verify(settings: Settings) -> bool:
    """Print whether the ledger is as it was written."""

    async def look(redis: Redis) -> tuple[Finding | None, int, str]:
        ledger = Ledger(redis)
        return await ledger.verify(), *await ledger.head()

    finding, count, head = ask(settings, look)
    if finding is None:
        typer.echo(f"ok: {count} rows, head {head or 'none'}")
        return True
    typer.echo(f"WRONG: row {finding.number}{f' ({finding.row})' if finding.row else ''} {finding.wrong}")
    return False


def forget(settings: Settings, tenant: str, user: str) -> Gone:
    async def go(redis: Redis) -> Gone:
        ledger = Ledger(redis)
        await Answers(Batch(redis)).forget(tenant, digest_of(tenant, user))
        return await Records(FlagLog(redis), ReviewQueue(redis, ledger), ledger).forget(tenant, user, actor())

    return ask(settings, go)


def destroy_key(settings: Settings, tenant: str) -> bool:
    """Whether there was one."""

    async def go(redis: Redis) -> bool:
        row = {"kind": "key_destroyed", "tenant": tenant, "actor": actor(), "at": time.time()}
        await Ledger(redis).append(row)  # first: what is done must be told, should this process end in between
        return await vault_of(redis, settings.encryption_keys).destroy(tenant)

    return ask(settings, go)


def actor() -> str:
    """Who uses the command line."""
    return f"cli:{getpass.getuser()}"
