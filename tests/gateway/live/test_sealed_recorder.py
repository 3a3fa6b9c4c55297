"""Flags whose texts are sealed are as durable as those that are not."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.errors import FlagNotDurable
from gateway.exchange import FlagPart
from gateway.live.embedded import EmbeddedRedis
from gateway.live.flags import FlagLog
from gateway.live.recorder import Recorder
from gateway.live.sealing import Sealing
from gateway.live.spool import Spool
from gateway.vault import SealingVault, masters

KEYS, OTHERS = (f"{id}:{base64.b64encode(id.encode() * 16).decode()}" for id in ("k1", "k2"))
PART = FlagPart("a", 0, 1.0, {"head": {"tenant": "acme", "request": {"m": "a secret"}}, "answer": {"a": "too"}}, "acme")


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("*.json"))


async def test_a_key_that_cannot_be_had_is_not_durable(redis: Redis, tmp_path: Path) -> None:
    await SealingVault(redis, masters(KEYS)).seal("acme", b"")
    recorder = Recorder(FlagLog(redis), Spool(tmp_path), sealing=Sealing(SealingVault(redis, masters(OTHERS))))
    with pytest.raises(FlagNotDurable):
        await recorder.keep(PART)


async def test_what_waits_in_the_spool_is_sealed(redis: Redis, tmp_path: Path) -> None:
    clock = Clock()
    vault = SealingVault(redis, masters(KEYS), clock=clock)
    await vault.seal("acme", b"")
    away = Redis.from_url("unix:///nowhere/redis.sock")
    await Recorder(FlagLog(away), Spool(tmp_path), sealing=Sealing(vault)).keep(PART)
    await away.aclose()
    spooled = contents(tmp_path)
    assert (b"sealed" in spooled, b"secret" in spooled, b"too" in spooled) == (True, False, False)
    await Recorder(FlagLog(redis), Spool(tmp_path)).drain()
    found = await FlagLog(redis, sealing=Sealing(vault)).show("a")
    assert found is not None
    assert found["request"] == {"m": "a secret"}


async def test_a_redis_that_hangs_is_waited_for_once(server: EmbeddedRedis, client: Redis, tmp_path: Path) -> None:
    clock = Clock()
    sealing = Sealing(SealingVault(client, masters(KEYS), clock=clock))
    recorder = Recorder(FlagLog(client), Spool(tmp_path / "spool"), sealing=sealing)
    await recorder.keep(PART)
    clock.now += 61
    pid = int((await client.info("server"))["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(5):
            for seq in range(1, 4):
                await recorder.keep(replace(PART, seq=seq))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert recorder.spooled == 3
