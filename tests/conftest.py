"""What the tests share: a real Redis, started once a session on a folder of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.live.embedded import EmbeddedRedis


def connect(url: str) -> Redis:
    """One retry, at once: for a connection that Redis closed when it restarted."""
    return Redis.from_url(url, retry=Retry(NoBackoff(), 1))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("data"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Redis."""
    client = connect(redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of the test's own, to be killed."""
    server = EmbeddedRedis(tmp_path / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def client(server: EmbeddedRedis) -> AsyncIterator[Redis]:
    """A client of `server`."""
    client = connect(server.url)
    yield client
    await client.aclose()
