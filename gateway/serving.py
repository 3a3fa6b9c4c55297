"""Runs the gateway: one process, or a parent that watches several."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.supervisors import Multiprocess

from gateway.api.http1 import HTTP1
from gateway.live.embedded import EmbeddedRedis, EmbeddedRedisError
from gateway.logs import configure
from gateway.settings import Settings
from guards.policy import Document

if TYPE_CHECKING:
    from gateway.app import Gateway

LOG = logging.getLogger("wardgate")
TICK = 0.2
FACTORY = "gateway.app:create_from_environment"
DATE = 1.0
"""Seconds for which the `date` header of answers stays as it is."""
DRAIN = 30
"""Seconds that answers under way may take when the gateway stops."""


class Refused(Exception):
    """The gateway does not start; the message says what to do."""


def run(settings: Settings, document: Document, host: str, port: int, workers: int) -> None:
    """Serve until told to stop."""
    if not document.tenants and not is_loopback(host):
        raise Refused(
            f"The config has no tenants, so the gateway would be open to everyone who reaches {host}.\n"
            "Add `tenants:` with keys (`wardgate keys new --tenant NAME`), or listen on 127.0.0.1."
        )
    configure(settings.log_level)
    sock = bind(host, port)
    LOG.info("listening on http://%s:%s", host, sock.getsockname()[1])
    try:
        if workers == 1:
            run_alone(settings, sock)
        else:
            run_many(settings, sock, workers)
    except EmbeddedRedisError as error:
        raise Refused(str(error)) from None
    finally:
        sock.close()


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise Refused(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --port.") from None
    sock.listen(2048)
    sock.set_inheritable(True)
    return sock


def uvicorn_config(app: Gateway | str, workers: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        loop="uvloop",
        http=HTTP1,
        lifespan="on",
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN,
        log_config=None,
        backlog=2048,
    )


def run_alone(settings: Settings, sock: socket.socket) -> None:
    from gateway.app import create_app  # Prometheus reads its environment when it is imported  # noqa: PLC0415

    server = Server(uvicorn_config(create_app(settings), 1))
    server.run(sockets=[sock])
    if not server.started:
        sys.exit(3)


class Server(uvicorn.Server):
    """Stops in order on a signal, and then simply ends: no second signal, no traceback.

    It is told when to stop, where uvicorn's looks ten times a second.
    """

    _told: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._told, self._loop = asyncio.Event(), asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), DATE)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None and self._told is not None:
            self._loop.call_soon_threadsafe(self._told.set)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Supervisor(Multiprocess):
    """Workers share the socket. A hang-up means a new config, which every worker takes by itself."""

    def handle_hup(self) -> None:
        for process in self.processes:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)


def run_many(settings: Settings, sock: socket.socket, workers: int) -> None:
    """The parent owns what the workers share: the embedded Redis and the folder of their metrics."""
    folder = Path(tempfile.mkdtemp(prefix="wardgate-metrics-"))
    redis = None if settings.redis_url else EmbeddedRedis(settings.data)
    stop = threading.Event()
    try:
        if redis is not None:
            redis.start()
            threading.Thread(target=keep, args=(redis, stop), daemon=True).start()
        os.environ.update(
            environment(replace(settings, metrics_dir=folder), redis.url if redis else settings.redis_url or "")
        )
        Supervisor(uvicorn_config(FACTORY, workers), [sock]).run()
    finally:
        stop.set()
        if redis is not None:
            redis.stop()
        shutil.rmtree(folder, ignore_errors=True)


def environment(settings: Settings, redis_url: str) -> dict[str, str]:
    """What the workers are told."""
    return {
        "WARDGATE_CONFIG": str(settings.config),
        "WARDGATE_DATA": str(settings.data),
        "WARDGATE_REDIS_URL": redis_url,
        "WARDGATE_LOG_LEVEL": settings.log_level,
        "PROMETHEUS_MULTIPROC_DIR": str(settings.metrics_dir),
    }


def keep(redis: EmbeddedRedis, stop: threading.Event) -> None:
    while not stop.wait(TICK):
        redis.ensure()
