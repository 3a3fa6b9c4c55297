"""What `wardgate export` does and prints."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from rich.console import Console

from gateway.audit_view import actor
from gateway.export.exporter import Exporter, Request
from gateway.export.filters import Filters
from gateway.export.folder import ExportError, Folder
from gateway.export.formats import Format, formats
from gateway.export.redaction import Redactors
from gateway.flags_view import parse_since
from gateway.reach import ask
from gateway.review.case import Matter, Source, State
from gateway.review.ledger import Ledger
from gateway.review.queue import ReviewQueue
from gateway.review.texts import Texts
from gateway.review.views import View
from gateway.settings import Settings
from gateway.vault import BadMasterKey, Vault, masters, vault_of
from guards.policy import Document
from guards.verdict import CATEGORIES

WAITING: tuple[State, ...] = ("open", "leased", "deciding")
AUDITS: tuple[Source, ...] = ("audit",)
PAGE = 5000


def export_cases(settings: Settings, document: Document, request: Request, out: Path) -> dict[str, Any]:
    """The manifest of the set that now lies in `out`. ExportError, or Unreachable."""
    try:
        if settings.encryption_keys:
            masters(settings.encryption_keys)
    except BadMasterKey as error:
        raise ExportError(str(error)) from None
    folder = Folder.beside(out)
    try:
        return ask(settings, lambda redis: _export(redis, settings, document, request, folder))
    finally:
        folder.discard()


async def _export(
    redis: Redis, settings: Settings, document: Document, request: Request, folder: Folder
) -> dict[str, Any]:
    """The ledger tells of it before anybody can have it."""
    now, ledger = time.time(), Ledger(redis)
    vault = vault_of(redis, settings.encryption_keys)
    queue = ReviewQueue(redis, ledger, vault=vault)
    tenants = tuple(tenant.name for tenant in document.tenants) or ("open",)
    cases = judged(queue, vault, request.filters.tenant, tenants)
    manifest = await Exporter(request, Redactors.of(document)).write(cases, folder, now)
    await ledger.append(row(manifest, request, folder.target.name, now))
    folder.publish()
    return manifest


async def judged(
    queue: ReviewQueue, vault: Vault, tenant: str, tenants: Sequence[str]
) -> AsyncIterator[tuple[View, Matter | None]]:
    """Every case with a decision in force, with its texts; and the audit samples that wait: they are held out too."""
    texts = Texts(queue, vault)
    for each in (tenant,) if tenant else tenants:
        async for view in waiting(queue, each):
            yield view, await texts.of(view.case)
    async for view in queue.closed_since(tenant or None, 0.0):
        yield view, await texts.of(view.case)


async def waiting(queue: ReviewQueue, tenant: str) -> AsyncIterator[View]:
    """Audit samples that nobody has decided for good."""
    start = 0
    while some := await queue.list(tenant, states=WAITING, sources=AUDITS, offset=start, limit=PAGE):
        for view in some:
            yield view
        start += PAGE


def row(manifest: dict[str, Any], request: Request, name: str, now: float) -> dict[str, Any]:
    """What the ledger keeps of it."""
    files = {file: each["sha256"] for file, each in manifest["files"].items()}
    what = {"format": request.format.name, "cases": manifest["cases"]["exported"], "files": files, "to": name}
    about = {"tenant": request.filters.tenant} if request.filters.tenant else {}
    return {"kind": "export", "actor": actor(), "at": now, **what, **about}


def request_of(
    format: str,
    *,
    tenant: str = "",
    policy: str = "",
    category: str = "",
    since: str | None = None,
    validation: float = 0.1,
    cap: int = 100,
    licence: str = "unspecified",
) -> Request:
    """ExportError for a format or category that is not known, or a time that cannot be read."""
    if category and category not in CATEGORIES:
        raise ExportError(f"--category {category!r}: use one of {', '.join(sorted(CATEGORIES))}")
    try:
        after = parse_since(since, time.time())
    except ValueError as error:
        raise ExportError(str(error)) from None
    return Request(known(format), Filters(tenant, policy, category, after), validation, cap, licence)


def known(name: str) -> Format:
    every = formats()
    if name not in every:
        raise ExportError(f"--format {name!r}: use one of {', '.join(every)}")
    return every[name]


def print_summary(manifest: dict[str, Any], out: Path) -> None:
    """To stderr: what was written, what was left out and why, and what to train with."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    files = ", ".join(f"{name} {each['rows']}" for name, each in manifest["files"].items())
    console.print(f"{out}: {manifest['format']}, rows: {files}")
    for reason, count in manifest["cases"]["left_out"].items():
        console.print(f"left out: {count} {reason.replace('_', ' ')}", style="dim")
    if advice := manifest.get("kto"):
        told = ", ".join(f"{name}={value}" for name, value in advice.items() if name != "note")
        console.print(f"KTO: {told + '. ' if told else ''}{advice['note']}")
