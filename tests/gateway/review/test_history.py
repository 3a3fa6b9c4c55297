from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import UnknownReview
from tests.gateway.review.room import NOW, Room, person

ADMIN = person("adm", "admin")


@pytest.fixture
def room(redis: Redis) -> Room:
    return Room.of(redis)


async def ids(room: Room, offset: int = 0, limit: int = 50, **filters: Any) -> list[str]:
    return [row["id"] for row in await room.desk.history(ADMIN, filters, offset=offset, limit=limit)]


async def test_the_latest_flags_of_ones_own_tenant_come_first_and_without_texts(room: Room) -> None:
    await room.flag("old", at=NOW - 10)
    await room.flag("theirs", at=NOW - 5, tenant="other")
    await room.flag("new", at=NOW)
    rows = await room.desk.history(ADMIN, {})
    assert [(row["id"], row["at"]) for row in rows] == [("new", NOW), ("old", NOW - 10)]
    assert all("request" not in row and "answer" not in row for row in rows)


async def test_flags_are_found_by_each_thing_that_is_known_of_them(room: Room) -> None:
    await room.flag("a", at=NOW - 3, guard="pii", category="pii", action="redact", answer="Straße 5")
    await room.flag("b", at=NOW - 2, guard="rude", category="toxicity", action="block", question="Who is ODD?")
    for filters, found in (
        ({"guard": "rude"}, ["b"]),
        ({"category": "pii"}, ["a"]),
        ({"action": "block"}, ["b"]),
        ({"text": "STRASSE"}, ["a"]),
        ({"text": "is odd"}, ["b"]),
        ({"text": "nowhere"}, []),
        ({"model": "assistant"}, ["b", "a"]),
        ({"model": "another"}, []),
        ({"policy": "support"}, ["b", "a"]),
        ({"policy": "support@bb"}, []),
        ({"since": NOW - 2.5}, ["b"]),
        ({"until": NOW - 2.5}, ["a"]),
        ({"decision": "block"}, []),
    ):
        assert await ids(room, **filters) == found, filters


async def test_pages_follow_one_another_even_among_flags_of_others(room: Room) -> None:
    for i in range(30):
        await room.flag(f"f{i}", at=NOW - i, tenant="other" if i % 3 else "acme", answer="needle" if i % 2 else "hay")
    mine = [f"f{i}" for i in range(0, 30, 3)]
    assert await ids(room, 0, 4) + await ids(room, 4, 4) + await ids(room, 8, 4) == mine
    odd = [f"f{i}" for i in range(3, 30, 6)]
    assert await ids(room, 0, 2, text="needle") + await ids(room, 2, 9, text="needle") == odd


async def test_a_search_goes_on_where_the_first_flags_do_not_fit(room: Room) -> None:
    await room.flag("deep", at=NOW - 1000)
    for i in range(230):
        await room.flag(f"f{i}", at=NOW - i, tenant="other")
    assert await ids(room) == ["deep"]


async def test_a_flag_says_what_was_decided_of_its_case(room: Room) -> None:
    case = await room.closed(person("ben"))
    await room.flag("x", case=case.id)
    (row,) = await room.desk.history(ADMIN, {"decision": "block"})
    assert (row["case"], row["decision"]) == (case.id, "block")
    foreign = await room.closed(person("zoe", tenant="other"), tenant="other")
    await room.flag("y", case=foreign.id, at=NOW + 1)
    flag = await room.desk.flag(ADMIN, "y")
    assert flag is not None
    assert flag["decision"] is None


async def test_of_an_id_that_two_tenants_chose_each_sees_its_own(room: Room) -> None:
    await room.flag("same", at=NOW - 2, answer="mine, old")
    await room.flag("same", at=NOW - 1, tenant="other", answer="theirs")
    await room.flag("same", at=NOW, answer="mine, new")
    flag = await room.desk.flag(ADMIN, "same")
    assert flag is not None
    assert list(flag["answer"].values()) == ["mine, new"]
    assert [list(f["answer"].values()) for f in flag["earlier"]] == [["mine, old"]]
    assert "theirs" not in repr(flag)
    assert len(await ids(room)) == 2


async def test_who_looks_at_a_flag_is_in_the_ledger_and_a_flag_that_is_not_there_is_not(room: Room) -> None:
    await room.flag("x")
    await room.flag("theirs", tenant="other")
    for id in ("x", "theirs", "none"):
        assert (await room.desk.flag(ADMIN, id) is not None) == (id == "x")
    await room.desk.reveal_flag(ADMIN, "x")
    with pytest.raises(UnknownReview):
        await room.desk.reveal_flag(ADMIN, "theirs")
    assert [(row["flag"], row["reviewer"]) for row in await room.rows("access")] == [("x", "adm")]
    assert [row["flag"] for row in await room.rows("reveal")] == ["x"]
