"""The loads: each asks one target for answers and reports figures, in microseconds unless the name says otherwise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.streams import Job
from tests.bench.target import HERE, Target

Figures = dict[str, float]
Load = Callable[[Target], Figures]
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


class LoadError(Exception):
    """A load came to nothing."""


@dataclass(frozen=True, slots=True)
class Loader:
    """Runs the load on `cpus`."""

    cpus: str

    def whole(self, target: Target, connections: int, seconds: float, shape: str = "n=300") -> Figures:
        """Whole answers with wrk, which costs little itself."""
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(_lua(target, shape))
            script.flush()
            options = [f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "--latency"]
            out = self._run(["wrk", "-t1", *options, "-s", script.name, target.url + target.path])
        return _wrk_figures(out)

    def streams(self, target: Target, shape: str, concurrency: int, each: int = 1, spread: float = 0.0) -> Figures:
        body = target.request(shape, stream=True)
        job = Job(target.url, target.path, target.headers, body, concurrency, each, spread)
        found = json.loads(self._run([sys.executable, "-m", "tests.bench.streams", json.dumps(asdict(job))]))
        errors = found.pop("errors")
        if errors:
            print(f"# {target.name}: {errors[0][:300]}", file=sys.stderr, flush=True)
        return {key: float(value) for key, value in found.items()}

    def _run(self, command: list[str]) -> str:
        pinned = [*(["taskset", "-c", self.cpus] if self.cpus else []), *command]
        root = HERE.parent.parent
        done = subprocess.run(
            pinned, capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False
        )
        if done.returncode:
            raise LoadError(f"{Path(command[0]).name}: {done.stderr[-500:]}")
        return done.stdout


def loads(loader: Loader, seconds: float) -> Mapping[str, Load]:
    """Name -> load."""

    def rps(target: Target) -> Figures:
        # Long enough that the 64 requests cut off at the end do not count.
        needed = 800 / target.rps if target.rps else 0.0
        return loader.whole(target, 64, min(10 * seconds, max(seconds, needed)))

    return {
        "lat1": lambda t: loader.whole(t, 1, seconds),
        "rps64": rps,
        "s4": lambda t: loader.streams(t, "n=300 d=5000 t=10", 4, spread=0.005),
        "s32": lambda t: loader.streams(t, "n=100 d=20000 t=5", 32, spread=0.5),
        "open32": lambda t: loader.streams(t, "n=100 d=20000 t=5 e=1", 32, spread=0.5),
    }


def _lua(target: Target, shape: str) -> str:
    headers = "".join(f"wrk.headers[{json.dumps(k)}]=[==[{v}]==]\n" for k, v in target.headers.items())
    body = json.dumps(target.request(shape))
    return f'wrk.method="POST"\nwrk.headers["Content-Type"]="application/json"\n{headers}wrk.body=[==[{body}]==]\n'


def _wrk_figures(out: str) -> Figures:
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return {
        "n": float(_first(r"(\d+) requests in", out)),
        "rps": float(_first(r"Requests/sec:\s+([\d.]+)", out)),
        "p50_us": _time(_first(r"(?m)^ +50% +(\S+)", out)),
        "p99_us": _time(_first(r"(?m)^ +99% +(\S+)", out)),
        "failed": float(failed[1]) if failed else 0.0,
    }


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise LoadError(f"wrk said: {text[-300:]}")
    return found[1]


def _time(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if found is None:
        raise LoadError(f"wrk said: {text}")
    return float(found[1]) * UNITS[found[2]]
