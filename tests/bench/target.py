"""A gateway under test: how it is started, asked and stopped."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.bench.processes import family, listeners

HERE = Path(__file__).resolve().parent
LOGS = HERE / "logs"
PROMPT = "Explain in about three hundred tokens how a gateway in front of a model works."
START_SECONDS = 180


class TargetError(Exception):
    """The target did not come up; the message says where to look."""


@dataclass(slots=True)
class Target:
    name: str
    url: str
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)
    cmd: str = ""
    env: dict[str, str] = field(default_factory=dict)
    ready: str = "/health"
    cpus: str = ""
    body: dict[str, object] = field(default_factory=dict)
    """Fields that every request to it has."""
    carriers: dict[str, dict[str, dict[str, object]]] = field(default_factory=dict)
    """By surface, for the table of carriers: its own `headers` and `body`."""
    prompt_chars: int = 0
    """The prompt is repeated up to this length."""
    process: subprocess.Popen[bytes] | None = None
    pids: set[int] = field(default_factory=set)
    rps: float = 0.0
    """Seen in the warm-up."""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 80

    def count(self, metric: str, *, without: str = "") -> float:
        """The gateway's own count, over all series that begin so; those with the text `without` left out."""
        lines = httpx.get(f"{self.url}/metrics", timeout=30).raise_for_status().text.splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(metric) and not (without and without in line)
        )

    def request(self, shape: str, *, stream: bool = False) -> dict[str, object]:
        prompt = " ".join([PROMPT] * max(1, self.prompt_chars // len(PROMPT)))
        body: dict[str, object] = {
            **self.body,
            "model": "bench",
            "messages": [{"role": "user", "content": f"{prompt} [{shape}]"}],
        }
        return {**body, "stream": True} if stream else body

    def start(self) -> None:
        if listeners(self.port):
            raise TargetError(f"{self.name}: port {self.port} is taken; end the process that listens there")
        LOGS.mkdir(exist_ok=True)
        command = [*(["taskset", "-c", self.cpus] if self.cpus else []), *shlex.split(self.cmd)]
        with (LOGS / f"{self.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=HERE,
                env={**os.environ, **self.env},
                start_new_session=True,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._await(self.process)
        self.pids = family(listeners(self.port) | {self.process.pid})

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if process.poll() is not None:
                raise TargetError(f"{self.name} ended at its start; see {LOGS / self.name}.log")
            if self._answers():
                return
            time.sleep(0.1)
        raise TargetError(f"{self.name} does not answer at {self.url}{self.ready}; see {LOGS / self.name}.log")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + self.ready, timeout=5) as answer:  # noqa: S310 - our own loopback URL
                answer.read()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self.process is None:
            return
        started = family({self.process.pid})
        _signal(started, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            _signal(started, signal.SIGKILL)
            self.process.wait()


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in sorted(pids, reverse=True):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
