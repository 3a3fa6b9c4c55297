from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.errors import FlagNotDurable
from gateway.exchange import FlagPart
from gateway.live.embedded import EmbeddedRedis
from gateway.live.flags import FlagLog
from gateway.live.recorder import Recorder
from gateway.live.spool import Spool
from tests.conftest import connect
from tests.gateway.live.test_embedded import kill, revive

PARTS = 2
"""Each flag of these tests."""


def parts(id: str, at: float | None = None) -> list[FlagPart]:
    started = time.time() if at is None else at
    return [FlagPart(id=id, seq=seq, at=started, body={"verdicts": [{"n": seq}]}) for seq in range(PARTS)]


async def kept(redis: Redis) -> dict[str, list[int]]:
    """Flag -> the numbers of its parts, as the log shows them; fails if a flag is listed twice."""
    flags = FlagLog(redis)
    ids = [row["id"] for row in await flags.list(limit=100_000)]
    assert len(ids) == len(set(ids))
    shown = {id: await flags.show(id) or {} for id in ids}
    assert not [id for id, flag in shown.items() if "earlier" in flag]
    return {id: [verdict["n"] for verdict in flag["verdicts"]] for id, flag in shown.items()}


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("waited in vain")


@contextlib.asynccontextmanager
async def away() -> AsyncIterator[FlagLog]:
    """The log of a Redis that is not there."""
    client = connect("unix:///nowhere/redis.sock")
    yield FlagLog(client)
    await client.aclose()


async def test_a_flag_goes_to_redis_while_that_answers(redis: Redis, tmp_path: Path) -> None:
    recorder = Recorder(FlagLog(redis), Spool(tmp_path))
    for part in parts("a"):
        await recorder.keep(part)
    assert await kept(redis) == {"a": [0, 1]}
    assert (recorder.healthy, recorder.spooled) == (True, 0)


async def test_a_dead_redis_sends_flags_to_the_spool_which_is_drained_once(
    server: EmbeddedRedis, client: Redis, tmp_path: Path
) -> None:
    recorder = Recorder(FlagLog(client), Spool(tmp_path / "spool"))
    await recorder.keep(parts("a")[0])
    kill(server)
    for part in parts("b"):
        await recorder.keep(part)
    assert (recorder.healthy, recorder.spooled) == (False, 2)
    assert await recorder.drain() == 0
    revive(server)
    assert await recorder.drain() == 2
    assert await recorder.drain() == 0
    assert (recorder.healthy, recorder.spooled) == (True, 0)
    assert await kept(client) == {"a": [0], "b": [0, 1]}


async def test_the_spool_drains_by_itself_when_redis_is_back(
    server: EmbeddedRedis, client: Redis, tmp_path: Path
) -> None:
    recorder = Recorder(FlagLog(client), Spool(tmp_path / "spool"))
    kill(server)
    for i in range(100):
        await recorder.keep(parts(str(i))[0])
    draining = asyncio.create_task(recorder.drain_forever(0.05))
    await asyncio.sleep(0.2)
    assert recorder.spooled == 100
    revive(server)
    await until(lambda: recorder.healthy and recorder.spooled == 0)
    draining.cancel()
    assert await kept(client) == {str(i): [0] for i in range(100)}
    assert os.listdir(tmp_path / "spool") == []


async def test_what_a_killed_process_spooled_is_found(redis: Redis, tmp_path: Path) -> None:
    for part in parts("a"):
        Spool(tmp_path).write(part)
    assert await Recorder(FlagLog(redis), Spool(tmp_path)).drain() == 2
    assert await kept(redis) == {"a": [0, 1]}


async def test_a_part_that_redis_has_already_is_not_there_twice_after_the_drain(redis: Redis, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    recorder = Recorder(FlagLog(redis), spool)
    for part in parts("a", at=1000.1):
        spool.write(part)
        await recorder.keep(part)
    await recorder.drain()
    assert await kept(redis) == {"a": [0, 1]}


async def test_later_parts_may_reach_redis_before_earlier_ones(redis: Redis, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    recorder = Recorder(FlagLog(redis), spool)
    first, second = parts("a")
    spool.write(first)
    await recorder.keep(second)
    await recorder.drain()
    assert await kept(redis) == {"a": [0, 1]}


async def test_answers_wait_for_an_absent_redis_once_only(server: EmbeddedRedis, client: Redis, tmp_path: Path) -> None:
    recorder = Recorder(FlagLog(client), Spool(tmp_path / "spool"), patience=0.3)
    await recorder.keep(parts("a")[0])
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)  # connects, but does not answer
    start = time.monotonic()
    await recorder.keep(parts("b")[0])
    assert 0.25 < time.monotonic() - start < 1.0
    start = time.monotonic()
    for i in range(10):
        await recorder.keep(parts(f"c{i}")[0])
    assert time.monotonic() - start < 0.3
    os.kill(server.pid, signal.SIGCONT)
    assert await recorder.drain() == 11
    assert len(await kept(client)) == 12


async def test_no_answer_waits_while_the_drain_watches_a_hanging_redis(
    server: EmbeddedRedis, client: Redis, tmp_path: Path
) -> None:
    recorder = Recorder(FlagLog(client), Spool(tmp_path / "spool"), patience=0.1, backoff=0.5)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    await recorder.keep(parts("first")[0])
    draining = asyncio.create_task(recorder.drain_forever(0.05))
    waits = []
    for i in range(60):
        start = time.monotonic()
        await recorder.keep(parts(str(i))[0])
        waits.append(time.monotonic() - start)
        await asyncio.sleep(0.02)
    os.kill(server.pid, signal.SIGCONT)
    assert sorted(waits)[-5] < 0.08  # a busy machine may delay a few
    await until(lambda: recorder.spooled == 0)
    draining.cancel()
    assert len(await kept(client)) == 61


async def test_a_redis_out_of_memory_sends_flags_to_the_spool(client: Redis, tmp_path: Path) -> None:
    recorder = Recorder(FlagLog(client), Spool(tmp_path / "spool"))
    await client.config_set("maxmemory", "1mb")
    await client.config_set("maxmemory-policy", "noeviction")
    await client.config_set("maxmemory", "1")
    await recorder.keep(parts("a")[0])
    assert (recorder.healthy, recorder.spooled) == (False, 1)
    await client.config_set("maxmemory", "0")
    assert await recorder.drain() == 1


async def test_a_full_spool_and_no_redis_is_an_error(tmp_path: Path) -> None:
    async with away() as flags:
        recorder = Recorder(flags, Spool(tmp_path, max_bytes=60))
        with pytest.raises(FlagNotDurable):
            await recorder.keep(parts("a")[0])


async def test_an_unwritable_spool_and_no_redis_is_an_error_without_the_folders_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with away() as flags:
        recorder = Recorder(flags, Spool(tmp_path / "file" / "spool"))
        with pytest.raises(FlagNotDurable) as caught:
            await recorder.keep(parts("a")[0])
    assert str(tmp_path) not in caught.value.message


async def test_what_cannot_be_written_as_json_is_not_durable(redis: Redis, tmp_path: Path) -> None:
    recorder = Recorder(FlagLog(redis), Spool(tmp_path))
    with pytest.raises(FlagNotDurable):
        await recorder.keep(FlagPart(id="a", seq=0, at=1.0, body={"head": {"n": 1 << 80}}))
    assert recorder.healthy


async def test_two_drains_at_once_bring_no_part_twice(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    for i in range(100):
        Spool(tmp_path).write(parts(str(i))[0])
    other = connect(redis_url)
    recorders = [Recorder(FlagLog(each), Spool(tmp_path)) for each in (redis, other)]
    drained = await asyncio.gather(*(recorder.drain() for recorder in recorders))
    await other.aclose()
    assert sum(drained) == 100
    assert await kept(redis) == {str(i): [0] for i in range(100)}


WRITER = """
import asyncio, sys
from tests.gateway.live.test_recorder import write_flags
asyncio.run(write_flags(*sys.argv[1:]))
"""


async def write_flags(url: str, spool: str, name: str) -> None:
    """A process that keeps flags until it is killed, and tells on stdout what it may count on."""
    recorder = Recorder(FlagLog(connect(url)), Spool(Path(spool)), patience=0.2, backoff=0.3)
    draining = asyncio.create_task(recorder.drain_forever(0.05))
    for i in range(100_000):
        for part in parts(f"{name}-{i}"):
            await recorder.keep(part)
            os.write(1, f"{part.id} {part.seq}\n".encode())
    draining.cancel()


async def run_writer(server: EmbeddedRedis, spool: Path, name: str, chance: random.Random) -> list[str]:
    """Kills a writer, and every other time Redis before it; returns what the writer was promised."""
    command = (sys.executable, "-c", WRITER, server.url, str(spool), name)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    reading = asyncio.create_task(process.stdout.read())
    await asyncio.sleep(1.5 + chance.random() / 2)  # it takes about a second to begin
    if chance.random() < 0.6:
        kill(server)
        await asyncio.sleep(chance.random() / 2)
    if chance.random() < 0.7:
        await asyncio.to_thread(revive, server)
        await asyncio.sleep(chance.random() / 2)
    process.kill()
    await process.wait()
    return (await reading).decode().splitlines()


async def test_kills_at_random_lose_no_promised_part_and_keep_none_twice(
    server: EmbeddedRedis, client: Redis, tmp_path: Path
) -> None:
    chance = secrets.SystemRandom()
    promised: list[str] = []
    for round in range(4):
        promised += await run_writer(server, tmp_path / "spool", f"w{round}", chance)
        await asyncio.to_thread(revive, server)
    await Recorder(FlagLog(client), Spool(tmp_path / "spool")).drain()
    found = await kept(client)
    assert len(promised) > 100
    assert {f"{id} {seq}" for id, numbers in found.items() for seq in numbers} >= set(promised)
    assert all(numbers in ([0], [0, 1]) for numbers in found.values())
