"""The commands as their users meet them: real processes, exit codes, one clear line for a mistake."""

from __future__ import annotations

import json
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


COMMANDS = (
    *("serve", "demo", "check", "scan", "export", "audit verify", "privacy forget", "privacy destroy-key"),
    *("keys new", "keys list", "keys revoke", "flags list", "flags show"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = wardgate(*command.split(), "--help")
    assert done.returncode == 0
    assert f"wardgate {command}" in " ".join(done.stdout.split())


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


def keys(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if k not in ("WARDGATE_REDIS_URL", "WARDGATE_CONFIG")}
    command = [sys.executable, "-m", "gateway.cli", "keys", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**environ, "WARDGATE_DATA": str(data)}
    )


def test_a_key_is_made_shown_once_listed_by_its_id_and_revoked(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = keys(data, "new", "--tenant", "acme")
    key = re.search(r"^key:  (wg-app-\S{43})$", made.stdout, re.MULTILINE)
    hash = re.search(r"^hash: sha256:([0-9a-f]{64})$", made.stdout, re.MULTILINE)
    assert key is not None
    assert hash is not None
    assert str(data) in made.stderr
    listed = keys(data, "list").stdout
    assert "acme" in listed
    assert hash[1][:12] in listed
    assert key[1] not in listed
    revoked = keys(data, "revoke", hash[1][:6])
    assert (revoked.returncode, revoked.stdout[:20]) == (0, f"revoked {hash[1][:12]}")
    rows = [json.loads(line) for line in keys(data, "list", "--json").stdout.splitlines()]
    assert [(r["tenant"], r["role"], bool(r["revoked"])) for r in rows] == [("acme", "app", True)]
    again = keys(data, "revoke", hash[1][:6])
    assert again.returncode == 1
    assert "wardgate keys list" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("new", "--tenant", "acme", "--role", "king"), "use app, reviewer, senior, operator, auditor or admin"),
        (("new", "--tenant", "acme", "--config", str(ROOT / "deploy/example.yaml")), "no tenant 'acme'"),
        (("list",), "WARDGATE_DATA"),
        (("revoke", "abcdef"), "WARDGATE_DATA"),
    ],
)
def test_a_mistake_with_keys_is_told_in_one_line(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = keys(tmp_path / "data", *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert not done.stdout
    assert "Traceback" not in done.stderr


def test_a_redis_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    environ = {**os.environ, "WARDGATE_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0", "WARDGATE_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "gateway.cli", "keys", "new", "--tenant", "acme"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 1
    assert "Redis does not answer" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert not done.stdout


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
