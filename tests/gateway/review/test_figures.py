from __future__ import annotations

import pytest
from redis.asyncio import Redis

from gateway.review.case import Case
from gateway.review.decision import Choice
from gateway.review.desk import Stats
from tests.gateway.review.room import Room, decision, person

ANN, BEN, SUE = person("ann"), person("ben"), person("sue", "senior")


@pytest.fixture
def room(redis: Redis) -> Room:
    return Room.of(redis)


async def twice(room: Room, first: Choice, second: Choice) -> Case:
    """A case that Ann decides, and then Ben without knowing."""
    case = await room.put(second=True)
    await room.decide(ANN, case, first, seconds=20)
    await room.later(31)
    await room.decide(BEN, case, second, seconds=5)
    await room.later(31)
    return case


async def test_whoever_has_decided_nothing_has_no_shares(room: Room) -> None:
    assert await room.desk.stats(ANN) == Stats(0)


async def test_ones_own_figures_count_what_was_decided_overturned_and_agreed(room: Room) -> None:
    await twice(room, "block", "block")
    disputed = await twice(room, "allow", "block")
    await room.decide(SUE, disputed, "block")
    await room.later(31)
    await room.closed(ANN)
    stats = await room.desk.stats(ANN)
    assert (stats.count, stats.median, sum(stats.days.values())) == (3, 20, 3)
    assert stats.overturned == pytest.approx(1 / 3)
    assert stats.agreement == pytest.approx(1 / 2)
    assert (await room.desk.stats(BEN)).overturned == 0
    assert (await room.desk.stats(person("zoe", tenant="other"))).count == 0


async def test_superseding_oneself_is_not_being_overturned(room: Room) -> None:
    case = await room.closed(ANN)
    await room.desk.supersede(ANN, decision(case, "allow"))
    assert (await room.desk.stats(ANN)).overturned == 0
    await room.desk.supersede(SUE, decision(case, "block"))
    assert (await room.desk.stats(ANN)).overturned == 1


async def test_figures_forget_what_is_older_than_a_month(room: Room) -> None:
    await room.closed(ANN)
    room.now[0] += 31 * 86400
    assert (await room.desk.stats(ANN)).count == 0


async def test_agreement_takes_only_what_people_said_without_knowing_of_each_other(room: Room) -> None:
    assert await room.desk.agreement(ANN) == []
    disputed = await twice(room, "allow", "block")
    (row,) = await room.desk.agreement(ANN)
    assert row == {"policy": "support", "units": 1, "alpha": None, "interval": None}
    await twice(room, "block", "block")
    (before,) = await room.desk.agreement(ANN)
    await room.decide(SUE, disputed, "block")  # knows both words: it is no third judgement
    await room.later(31)
    (after,) = await room.desk.agreement(ANN)
    assert before == after
    assert after["units"] == 2
    assert after["alpha"] == pytest.approx(0.0)  # two units, pairs (a b) and (b b): observed and expected alike
    low, high = after["interval"]
    assert low <= after["alpha"] <= high


async def test_several_reviewers_of_one_case_are_a_unit(room: Room) -> None:
    for _ in range(2):
        case = await room.put(reviews=2)
        await room.decide(ANN, case)
        await room.decide(BEN, case)
        await room.later(31)
    await twice(room, "allow", "allow")
    (row,) = await room.desk.agreement(ANN)
    assert (row["units"], row["alpha"]) == (3, 1.0)


async def test_a_deadline_is_no_judgement(room: Room) -> None:
    case = await room.put(deadline=room.now[0] + 60, reviews=2)
    await room.decide(ANN, case)
    await room.later(61)
    assert await room.desk.agreement(ANN) == []
