"""The commands as their users meet them: real processes, exit codes, one clear line for a mistake."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.flags_view import parse_since
from tests.gateway.harness import free_port

ROOT = Path(__file__).parents[2]


def wardgate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["serve", "demo", "check", "scan", "keys new", "flags list", "flags show"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = wardgate(*command.split(), "--help")
    assert done.returncode == 0
    assert f"wardgate {command}" in done.stdout


def test_check_accepts_the_example_and_names_the_policy_hash() -> None:
    done = wardgate("check", str(ROOT / "deploy/example.yaml"))
    assert done.returncode == 0
    assert re.search(r"\w+@[0-9a-f]{12}", done.stdout)


def test_check_names_line_and_remedy(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nupstreams: [{name: s, kind: simulated}]\nmodells: []\n")
    done = wardgate("check", str(bad))
    assert done.returncode == 1
    assert "bad.yaml:3" in done.stderr
    assert "models" in done.stderr


def test_an_open_gateway_does_not_listen_to_the_world(tmp_path: Path) -> None:
    done = wardgate("serve", "--config", str(ROOT / "deploy/example.yaml"), "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 1
    assert "tenants" in done.stderr


def test_a_new_key_is_shown_with_its_hash() -> None:
    done = wardgate("keys", "new", "--tenant", "acme")
    assert re.search(r"^key:  wg-app-\S{43}$", done.stdout, re.MULTILINE)
    assert re.search(r"^hash: sha256:[0-9a-f]{64}$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1000 - 1800), ("2h", 1000 - 7200), ("1970-01-01T00:10", 600.0)])
def test_since_takes_ages_and_times(text: str, seconds: float) -> None:
    assert parse_since(text, 1000) == seconds


def test_since_explains_itself() -> None:
    with pytest.raises(ValueError, match="write an age"):
        parse_since("yesterday", 0)


def test_a_model_that_cannot_be_loaded_is_told_in_one_line(tmp_path: Path) -> None:
    guard = "{name: g, kind: transformer, model: ./none, labels: {BAD: injection}, category: injection}"
    config = tmp_path / "c.yaml"
    config.write_text(
        "version: 1\nupstreams: [{name: s, kind: simulated}]\nmodels: [{name: m, upstream: s, policy: p}]\n"
        f"policies: [{{name: p, guards: [{guard}]}}]\n"
    )
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config), "--port", str(free_port())]
    environ = {**os.environ, "WARDGATE_DATA": str(tmp_path / "data")}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=60)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "wardgate[hf]" in done.stderr or "./none" in done.stderr
