"""`wardgate audit` and `wardgate privacy`: real processes against a real Redis."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from typing import Any

from redis.asyncio import Redis

from gateway.exchange import FlagPart
from gateway.live.flags import FlagLog
from gateway.live.sealing import Sealing
from gateway.privacy import digest_of
from gateway.review.ledger import Ledger
from gateway.vault import vault_of

KEYS = f"k1:{base64.b64encode(b'k' * 32).decode()}"


def wardgate(url: str, *words: str, keys: str = "") -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "WARDGATE_REDIS_URL": url, "WARDGATE_ENCRYPTION_KEYS": keys}
    command = [sys.executable, "-m", "gateway.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


def part(user: str = "") -> FlagPart:
    head = {"tenant": "acme", "policy": "p@1", "user": user, "request": {"messages": ["a secret"]}}
    return FlagPart("x1", 0, time.time(), {"head": head, "verdicts": []}, "acme")


async def test_a_sound_ledger_is_told_and_a_touched_one_fails(redis: Redis, redis_url: str) -> None:
    for number in range(3):
        await Ledger(redis).append({"kind": "access", "number": number})
    sound = wardgate(redis_url, "audit", "verify")
    assert (sound.returncode, sound.stdout[:11]) == (0, "ok: 3 rows,")
    entries: Any = await redis.xrange("{wardgate}:ledger")
    await redis.xdel("{wardgate}:ledger", entries[1][0])
    touched = wardgate(redis_url, "audit", "verify")
    assert touched.returncode == 1
    assert touched.stdout.startswith("WRONG: row 2")


async def test_an_end_users_records_go(redis: Redis, redis_url: str) -> None:
    await FlagLog(redis).append(part(digest_of("acme", "4711")))
    done = wardgate(redis_url, "privacy", "forget", "--tenant", "acme", "--user", "4711")
    assert (done.returncode, done.stdout) == (0, "gone: 1 flags, 0 cases\n")
    assert await FlagLog(redis).list(10) == []
    assert wardgate(redis_url, "audit", "verify").returncode == 0


async def test_a_tenants_key_is_destroyed_for_good(redis: Redis, redis_url: str) -> None:
    sealing = Sealing(vault_of(redis, KEYS))
    await FlagLog(redis).append(await sealing.seal(part()))
    assert "a secret" in wardgate(redis_url, "flags", "show", "x1", keys=KEYS).stdout
    words = ("privacy", "destroy-key", "--tenant", "acme", "--yes")
    assert wardgate(redis_url, *words, keys=KEYS).stdout == "the key of acme is destroyed\n"
    shown = wardgate(redis_url, "flags", "show", "x1", keys=KEYS)
    assert (shown.returncode, "a secret" in shown.stdout, "unreadable" in shown.stdout) == (0, False, True)
    again = wardgate(redis_url, *words, keys=KEYS)
    assert (again.returncode, "has no key here" in again.stderr) == (1, True)


def test_master_keys_that_are_none_are_told_in_one_line(redis_url: str) -> None:
    done = wardgate(redis_url, "privacy", "destroy-key", "--tenant", "acme", "--yes", keys="nonsense")
    assert done.returncode == 1
    assert "openssl rand" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_export_of_nothing_says_so(redis_url: str) -> None:
    done = wardgate(redis_url, "export", "--config", "deploy/example.yaml", "--format", "what", "--out", "sets")
    assert done.returncode == 1
    assert "use one of sft" in done.stderr
