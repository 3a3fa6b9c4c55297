from __future__ import annotations

import pytest
from redis.asyncio import Redis

from gateway.errors import InvalidRequest
from tests.gateway.review.room import Room, person

ADMIN = person("adm", "admin")


@pytest.fixture
def room(redis: Redis) -> Room:
    return Room.of(redis)


async def test_the_ledger_shows_ones_own_rows_and_that_there_are_others(room: Room) -> None:
    await room.closed(person("ben"))
    theirs = await room.closed(person("zoe", tenant="other"), tenant="other")
    await room.desk.open_case(person("zed", "admin", "other"), theirs.id)
    rows = await room.desk.ledger(ADMIN)
    assert [row["row"] and row["row"]["reviewer"] for row in rows] == ["ben", None, None]
    assert [row["hash"] for row in rows] == [row.hash async for row in room.ledger.rows()]


async def test_the_ledger_is_read_page_by_page(room: Room) -> None:
    for _ in range(3):
        await room.closed(person("ben"))
    first = await room.desk.ledger(ADMIN, limit=2)
    rest = await room.desk.ledger(ADMIN, after=first[-1]["id"], limit=2)
    assert first + rest == await room.desk.ledger(ADMIN)
    with pytest.raises(InvalidRequest):
        await room.desk.ledger(ADMIN, after="+")


async def test_a_decision_of_a_forgotten_case_stays_its_tenants(room: Room) -> None:
    case = await room.closed(person("ben"))
    await room.queue.forget(case.id)
    assert [row["row"]["case"] for row in await room.desk.ledger(ADMIN)] == [case.id]
