"""The peers: installed into environments of their own, started from peers.toml."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence

from tests.bench.carriers.plan import DENIED
from tests.bench.target import HERE, Target

INSTALL = HERE / "peers" / "install.sh"
SECONDS = 900


def peers(names: Sequence[str]) -> Iterator[Target]:
    """Those of `names` that can be installed; a line says why another cannot."""
    known = tomllib.loads((HERE / "peers.toml").read_text().replace("@DENIED@", DENIED))
    for name in names:
        if name not in known:
            raise SystemExit(f"unknown peer {name!r}; peers.toml has: {', '.join(known)}")
        if installed(name.removesuffix("-content-filter").removesuffix("-guard").removesuffix("-regex")):
            yield Target(name, **known[name])


def installed(environment: str) -> bool:
    print(f"# installing {environment} (once)", file=sys.stderr, flush=True)
    try:
        done = subprocess.run([str(INSTALL), environment], capture_output=True, text=True, timeout=SECONDS, check=False)
        reason = "" if done.returncode == 0 else (done.stderr or done.stdout).strip()[-300:] or "install.sh failed"
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        print(f"# SKIPPED {environment}: it cannot be installed here: {reason}", file=sys.stderr, flush=True)
    return not reason
