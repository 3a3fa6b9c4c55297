"""The bench: Wardgate beside its peers in front of one fast mock upstream, and the tables of what each costs."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import access, carrier_leak, leak, lengths, model_lane, wardgate
from tests.bench.load import Loader, loads
from tests.bench.peers import peers
from tests.bench.rounds import run_rounds
from tests.bench.tables import report, table
from tests.bench.target import HERE, Target, TargetError

UPSTREAM = "http://127.0.0.1:9100"
PEERS = "litellm,portkey,vllm-router"
CARRIERS = "http://127.0.0.1:9101"
LEAK_PEERS = ("litellm-content-filter", "portkey-guard", "nemo-regex")
WARM = 500
"""Requests before the first figure: lazy imports, pools, just-in-time compilers."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, lengths up to 100,000 characters")
    parser.add_argument("--no-peers", action="store_true", help="Wardgate alone")
    parser.add_argument("--peers", default=PEERS, help=f"names from peers.toml, comma separated ({PEERS})")
    parser.add_argument("--only", default="", help="tables, comma separated: cost, leak, length, lane, access (all)")
    parser.add_argument("--seconds", type=float, default=2, help="of a load of whole answers")
    parser.add_argument("--server-cpus", default="0", help="where the gateways run")
    parser.add_argument("--load-cpus", default="1", help="where the load and the mock upstream run")
    return parser.parse_args()


def upstream(cpus: str) -> Target:
    source, binary = HERE / "upstream.c", HERE / "upstream"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-o", str(binary), str(source)], check=True)  # noqa: S607 - the machine's compiler
    return Target("direct", UPSTREAM, cmd=f"{binary} 9100", cpus=cpus)


@contextmanager
def running(targets: Iterable[Target], cpus: str) -> Iterator[list[Target]]:
    """Those that came up; a line says why another did not."""
    started: list[Target] = []
    try:
        for target in targets:
            target.cpus = target.cpus or cpus
            started.append(target)
            try:
                target.start()
            except TargetError as error:
                print(f"# SKIPPED {error}", file=sys.stderr, flush=True)
                started.remove(target)
                target.stop()
        yield list(started)
    finally:
        for target in reversed(started):
            target.stop()


def warm(target: Target, loader: Loader) -> None:
    done, until = 0.0, time.monotonic() + 30
    while done < WARM and time.monotonic() < until:
        seen = loader.whole(target, 4, 2)
        done, target.rps = done + seen["n"], seen["rps"]
    loader.streams(target, "n=20 d=1000 t=5", 4, 5)


def say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def costs(options: argparse.Namespace, direct: Target, folder: Path, loader: Loader) -> None:
    ours = [wardgate.plain(UPSTREAM, folder), wardgate.guarded(UPSTREAM, folder)]
    others = [] if options.no_peers else list(peers(options.peers.split(",")))
    with running([*ours, *others], options.server_cpus) as targets:
        for target in targets:
            warm(target, loader)
        everyone = [direct, *targets]
        rounds = 1 if options.quick else options.rounds
        results = run_rounds(everyone, loads(loader, options.seconds), rounds)
    say(report(results, [t.name for t in everyone]))


def carriers(cpus: str) -> Target:
    command = [sys.executable, "-m", "tests.bench.carriers", CARRIERS.rsplit(":", 1)[1]]
    root = {"PYTHONPATH": str(HERE.parents[1])}
    return Target("unguarded", CARRIERS, cmd=shlex.join(command), env=root, ready="/v1/models", cpus=cpus)


def leak_tables(options: argparse.Namespace, folder: Path) -> None:
    others = [] if options.no_peers else peers(LEAK_PEERS)
    ours = wardgate.denying(UPSTREAM, CARRIERS, folder)
    with (
        running([carriers(options.load_cpus)], "") as mocks,
        running([*ours, *others], options.server_cpus) as guarded,
    ):
        chat = [t for t in guarded if t.name not in (wardgate.MASK, wardgate.LIST)]
        say(table("What leaks from a guarded stream", leak.HEAD, list(leak.leaks(chat))))
        targets = [*mocks, *guarded]  # the mock by itself shows that the meter sees every carrier
        found = carrier_leak.run(targets)
        head = carrier_leak.head(targets)
        for stream in (True, False):
            title = f"Characters out of 13 · of 399, {'streamed' if stream else 'whole answers'}"
            say(table(title, head, list(carrier_leak.leaked(found, targets, stream=stream))))
        for figure, title in (("first_ms", "TTFT ms"), ("cpu_ms", "CPU ms a stream")):
            say(table(f"{title}, nothing forbidden", head, list(carrier_leak.costs(found, targets, figure))))


def length_table(options: argparse.Namespace, folder: Path, loader: Loader) -> None:
    target = wardgate.guarded(UPSTREAM, folder)
    target.prompt_chars = 0  # the answer's cost is asked for
    sizes = lengths.SIZES[:3] if options.quick else lengths.SIZES
    with running([target], options.server_cpus) as targets:
        for one in targets:
            warm(one, loader)
            rows = list(lengths.lengths(one, loader, sizes))
            say(table("Cost by length of the answer, guarded", lengths.HEAD, rows))


def lane_tables(options: argparse.Namespace, folder: Path, loader: Loader) -> None:
    found = model_lane.targets(UPSTREAM, folder)
    with running(found, options.server_cpus) as started:
        plain, strict, *others = started
        for target in started:
            loader.streams(target, "n=20 d=1000 t=5", 4, 2)
        say(table("One stream, guards that score", model_lane.SINGLE, list(model_lane.single(plain, strict, loader))))
        counts = (8, 24) if options.quick else (8, 16, 24, 32, 40, 48)
        say(table("Streams on one core, strict", model_lane.CROWD, list(model_lane.crowd(strict, loader, counts))))
        sizes = (100, 1000) if options.quick else (100, 1000, 8000)
        say(table("Cost by length, strict", model_lane.LENGTHS, list(model_lane.lengths(strict, loader, sizes))))
        points = list(model_lane.curve([strict, *others], loader))
        say(table("What a mode costs and lets out", model_lane.CURVE, [p.cells for p in points]))
    model_lane.POINTS.write_text(json.dumps([p._asdict() for p in points]))


def access_table(options: argparse.Namespace, folder: Path, loader: Loader) -> None:
    with running(access.targets(UPSTREAM, folder), options.server_cpus) as targets:
        for target in targets:
            loader.whole(target, 4, 2)
        rounds = 1 if options.quick else options.rounds
        results = run_rounds(targets, access.loads(loader, options.seconds), rounds)
    names = [t.name for t in targets]
    say(table("What keys, limits and the verdict cache add", access.HEAD, list(access.rows(results, names))))
    say([access.verdict(results, names)])


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the gateways are stopped
    wanted = set(filter(None, options.only.split(","))) or {"cost", "leak", "length", "lane", "access"}
    loader = Loader(options.load_cpus)
    with (
        tempfile.TemporaryDirectory(prefix="wardgate-bench-") as name,
        running([upstream(options.load_cpus)], "") as mocks,
    ):
        folder = Path(name)
        if not mocks:
            raise SystemExit(1)
        if "cost" in wanted:
            costs(options, mocks[0], folder, loader)
        if "leak" in wanted:
            leak_tables(options, folder)
        if "length" in wanted:
            length_table(options, folder, loader)
        if "lane" in wanted:
            lane_tables(options, folder, loader)
        if "access" in wanted:
            access_table(options, folder, loader)


if __name__ == "__main__":
    main()
