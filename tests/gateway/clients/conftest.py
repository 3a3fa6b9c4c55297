"""The world that each test of a client gets for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.gateway.clients.openai_ways import Async, Connect, Sync, Way
from tests.gateway.clients.world import KEY, World, world_on


@pytest.fixture
async def world(tmp_path: Path, redis_url: str, redis: Redis) -> AsyncIterator[World]:
    """`redis` is there so that no test counts against the limits of the next."""
    async with world_on(tmp_path, redis_url) as made:
        yield made


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
async def connect(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Connect]:
    """Makes `openai` clients of one kind, and closes them."""
    made: list[Way] = []

    def new(key: str = KEY, retries: int = 0) -> Way:
        made.append(request.param.to(world.base, key, retries))
        return made[-1]

    yield new
    for way in made:
        await way.close()
