"""The bench's one command: `python tests/bench/run.py --help`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the modules are `tests.bench.…`
    runpy.run_module("tests.bench", run_name="__main__", alter_sys=True)
