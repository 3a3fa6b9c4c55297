"""The console on a real socket with a real Redis, and Debian's Chromium before it."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.async_api import Browser, async_playwright
from redis.asyncio import Redis

from gateway.access import Access
from gateway.console.routes import console_routes
from gateway.console.sessions import Sessions
from gateway.live.answers import Answers
from gateway.live.batch import Batch
from gateway.live.flags import FlagLog
from gateway.live.keys import KeyRing, KeyStore, Role, make
from gateway.live.limits import Limiter
from gateway.metrics import Metrics
from gateway.plan import Plan
from gateway.review.changes import Changes
from gateway.review.desk import Desk
from gateway.review.ledger import Ledger
from gateway.review.queue import ReviewQueue
from gateway.upstream.simulated import Simulated
from gateway.vault import PlainVault
from guards.policy import Document
from tests.fakes import Server
from tests.gateway.review.room import Fixed, Shelf

CONFIG = {
    "version": 1,
    "upstreams": [{"name": "vllm", "base_urls": ["http://127.0.0.1:9/v1"]}],
    "models": [{"name": "assistant", "upstream": "vllm", "policy": "support"}],
    "policies": [
        {
            "name": "support",
            "guards": [
                {"name": "pii", "kind": "pii", "stages": ["output"], "action": "redact"},
                {"name": "codename", "kind": "pattern", "pattern": "Project [A-Z]\\w{2,20}", "action": "escalate"},
            ],
        }
    ],
}
TENANTS = [
    {"name": name, "keys": ["sha256:" + digit * 64], "models": ["assistant"]}
    for name, digit in (("acme", "0"), ("other", "1"))
]


@dataclass
class Console:
    """A console that listens."""

    url: str
    redis: Redis
    queue: ReviewQueue
    flags: FlagLog
    ledger: Ledger
    shelf: Shelf
    ring: KeyRing
    store: KeyStore

    async def key(self, role: Role = "reviewer", tenant: str = "acme") -> str:
        secret, key = make(tenant, role, 1.0)
        await self.store.add(key)
        await self.ring.refresh()
        return secret


@asynccontextmanager
async def console(redis: Redis, *, tenants: bool = True, undo: float = 30.0) -> AsyncIterator[Console]:
    document = Document.model_validate(CONFIG | ({"tenants": TENANTS} if tenants else {}))
    store = KeyStore(redis)
    ring = KeyRing(store)
    batch = Batch(redis)
    plans = Fixed(Plan.build(document, {"vllm": Simulated()}))
    access = Access(plans, ring, Limiter(batch), Answers(batch), Metrics.build())
    ledger, flags, shelf = Ledger(redis), FlagLog(redis), Shelf()
    queue = ReviewQueue(redis, ledger)
    changes = Changes(redis, queue.changes)
    desk = Desk(queue, PlainVault(), ledger, flags, plans=plans, changes=changes, letters=shelf)
    app = FastAPI(openapi_url=None)
    app.include_router(console_routes(desk, access, Sessions(redis, ring)))
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await server.listening.wait()
    try:
        yield Console(f"http://127.0.0.1:{listener.getsockname()[1]}", redis, queue, flags, ledger, shelf, ring, store)
    finally:
        server.should_exit = True
        await serving
        await batch.close()
        listener.close()


@pytest.fixture
async def served(redis: Redis) -> AsyncIterator[Console]:
    """The console with two tenants, acme and other."""
    async with console(redis) as running:
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()
