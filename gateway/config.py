"""The config in force: loaded from a file, replaced whole when the file changes, kept when the new one is wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from classifiers.model import ModelError
from gateway.classifying import Classifying
from gateway.metrics import Metrics
from gateway.plan import Plan
from gateway.upstream.client import Timeouts, Upstream
from gateway.upstream.protocol import ModelServer
from gateway.upstream.simulated import Simulated
from guards.cache import VerdictCache
from guards.catalog import KINDS
from guards.document import DocumentError, Loaded, load_file
from guards.policy import Upstream as UpstreamConfig

LOG = logging.getLogger("wardgate")
Stamp = tuple[tuple[int, int, int], ...]
POLL = 0.5
"""Seconds between looks at the file. A look is one `stat`, and works on network and container volumes alike."""


class OpenedByReload(Exception):
    """A gateway that asks for keys stays so while it runs: only at its start is it known who can reach it."""


class Config:
    """Owns the plan in force and the upstream clients. Exchanges take `plan` once and keep it to their end."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        metrics: Metrics,
        classifying: Classifying | None = None,
        cache: VerdictCache | None = None,
    ) -> None:
        self._path = path
        self._environ = environ
        self._metrics = metrics
        self._classifying = classifying or Classifying()
        self._cache = cache
        self._servers: dict[str, ModelServer] = {}
        self._plan: Plan | None = None
        self._files: tuple[Path, ...] = (path,)
        self._seen: Stamp | None = None
        self.error: str | None = None
        """Why the file as it stands is not in force."""

    @property
    def plan(self) -> Plan:
        if self._plan is None:
            raise RuntimeError("the config is not loaded")
        return self._plan

    async def start(self) -> None:
        """Load the file; DocumentError when it is wrong."""
        await self._use(load_file(self._path, KINDS, self._environ))

    async def reload(self) -> bool:
        """Take the file as it stands. A wrong one leaves the old plan in force, and says so."""
        try:
            loaded = load_file(self._path, KINDS, self._environ)
            if self.plan.document.tenants and not loaded.document.tenants:
                raise OpenedByReload(f"{self._path}: without `tenants` the gateway would be open; restart it for that.")
            await self._use(loaded)
        except (DocumentError, ModelError, OpenedByReload) as error:
            self.error = str(error)
            self._metrics.reloads.labels("refused").inc()
            LOG.error("the new config is wrong; the old one stays in force.\n%s", error)
            return False
        self.error = None
        self._metrics.reloads.labels("done").inc()
        LOG.info("config reloaded: %s", ", ".join(g.label for g in self.plan.guarded.values()))
        return True

    async def watch(self) -> None:
        """Reload whenever the file changes."""
        while True:
            await asyncio.sleep(POLL)
            now = self._stat()
            if now is not None and now != self._seen:
                self._seen = now
                await self.reload()

    async def close(self) -> None:
        for server in self._servers.values():
            await server.close()

    def _stat(self) -> Stamp | None:
        """The state of the config file and of the files that it names."""
        try:
            found = [f.stat() for f in self._files]
        except OSError:
            return None  # between two renames of an editor
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in found)

    async def _use(self, loaded: Loaded) -> None:
        document = loaded.document
        servers: dict[str, ModelServer] = {}
        for upstream in document.upstreams:
            key = _identity(upstream)
            if key not in self._servers:
                server = make_server(upstream)
                await server.start()
                self._servers[key] = server
            servers[upstream.name] = self._servers[key]
        classifiers = await self._classifying.behind(document)
        self._plan = await asyncio.to_thread(Plan.build, document, servers, classifiers, self._cache)
        self._files = (self._path, *loaded.files)
        self._seen = self._stat()


def make_server(upstream: UpstreamConfig) -> ModelServer:
    if upstream.kind == "simulated":
        return Simulated()
    limits = Timeouts(upstream.timeouts.connect, upstream.timeouts.read, upstream.timeouts.idle)
    key = upstream.api_key.get_secret_value() if upstream.api_key else None
    return Upstream(upstream.base_urls, key, limits)


def _identity(upstream: UpstreamConfig) -> str:
    """Upstreams that did not change keep their connections across a reload."""
    secret = upstream.api_key.get_secret_value() if upstream.api_key else ""
    return f"{upstream.model_dump_json()}{secret}"
