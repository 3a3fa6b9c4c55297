"""Processes as /proc shows them: who listens on a port, and what they and their children used."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
LISTENING = "0A"


class CPU(NamedTuple):
    """CPU seconds so far, counted in two ways."""

    exact: float
    """To the nanosecond, but without threads that have ended."""
    ticks: float
    """In steps of 10 ms, of all threads."""

    def since(self, before: CPU) -> float:
        exact, ticks = self.exact - before.exact, self.ticks - before.ticks
        return exact if exact >= ticks - 0.03 else ticks


def listeners(port: int) -> set[int]:
    """Processes that listen on a TCP port."""
    sockets = _listening_sockets(port)
    pids = set()
    for fd in PROC.glob("[0-9]*/fd/*"):
        try:
            if os.readlink(fd) in sockets:
                pids.add(int(fd.parts[2]))
        except OSError:
            continue  # it ended, or is not ours to see
    return pids


def _listening_sockets(port: int) -> set[str]:
    found = set()
    for name in ("tcp", "tcp6"):
        for line in (PROC / "net" / name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rsplit(":", 1)[1], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def family(pids: Iterable[int]) -> set[int]:
    """The processes and all that they started."""
    children: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            parent = int(_fields(stat)[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parts[2]))
    found: set[int] = set()
    todo = list(pids)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def _fields(stat: Path) -> list[str]:
    """What follows the name, which may hold anything."""
    return stat.read_text().rsplit(")", 1)[1].split()


def cpu(pids: Iterable[int]) -> CPU:
    exact = ticks = 0.0
    for pid in pids:
        try:
            fields = _fields(PROC / str(pid) / "stat")
            ticks += (int(fields[11]) + int(fields[12])) / TICK
            for task in (PROC / str(pid) / "task").iterdir():
                exact += int((task / "schedstat").read_text().split()[0]) / 1e9
        except (OSError, IndexError):
            continue
    return CPU(exact, ticks)


def machine_busy() -> float:
    """CPU seconds that the whole machine has used since it started."""
    fields = [int(x) for x in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def resident_mib(pids: Iterable[int]) -> float:
    """Resident memory; pages that the processes share count once for each that uses them."""
    total = 0
    for pid in pids:
        try:
            found = re.search(r"VmRSS:\s+(\d+)", (PROC / str(pid) / "status").read_text())
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total / 1024
