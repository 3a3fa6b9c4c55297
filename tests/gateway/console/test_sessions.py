from __future__ import annotations

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gateway.console.preferences import Preferences
from gateway.console.sessions import AWAY, Last, Session, Sessions
from gateway.live.flags import text
from gateway.live.keys import Key, KeyRing, KeyStore, digest
from gateway.review.person import Person

ANN = Person("a1b2c3d4e5f6", "acme", "reviewer", "a1b2c3d4")
KEY = digest("wg-reviewer-secret")


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def ring(redis: Redis) -> KeyRing:
    await KeyStore(redis).add(Key(KEY, "acme", "reviewer", "wg-reviewer-secret", 1.0))
    ring = KeyRing(KeyStore(redis))
    await ring.refresh()
    return ring


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(redis: Redis, ring: KeyRing, clock: Clock) -> Sessions:
    return Sessions(redis, ring, clock=clock)


async def found(sessions: Sessions, id: str) -> Session:
    session = await sessions.find(id)
    assert session is not None
    return session


async def test_a_session_is_found_by_its_id_alone(sessions: Sessions) -> None:
    id = await sessions.start(ANN, KEY)
    session = await found(sessions, id)
    assert (session.person, session.preferences, session.last) == (ANN, Preferences(), None)
    assert await sessions.find("") is None
    assert await sessions.find(id + "x") is None


async def test_redis_never_holds_the_id_itself(sessions: Sessions, redis: Redis) -> None:
    id = await sessions.start(ANN, KEY)
    [name] = await redis.keys("{wardgate}:session:*")
    assert text(name) == f"{{wardgate}}:session:{digest(id)}"
    assert id not in str(await redis.hgetall(name))
    assert 0 < await redis.ttl(name) <= 12 * 3600


async def test_no_two_sessions_share_a_token(sessions: Sessions) -> None:
    one, two = [await found(sessions, await sessions.start(ANN, KEY)) for _ in range(2)]
    assert one.csrf != two.csrf


async def test_a_session_ends_with_its_key(sessions: Sessions, redis: Redis, ring: KeyRing) -> None:
    id = await sessions.start(ANN, KEY)
    await KeyStore(redis).revoke("wg-reviewer-secret")
    await ring.refresh()
    assert await sessions.find(id) is None
    assert await redis.keys("{wardgate}:session:*") == []


async def test_what_ended_is_not_brought_back_by_a_page_that_was_open(sessions: Sessions, redis: Redis) -> None:
    id = await sessions.start(ANN, KEY)
    session = await found(sessions, id)
    await sessions.end(session)
    await sessions.prefer(session, Preferences(theme="dark"))
    assert await sessions.find(id) is None
    assert await redis.keys("{wardgate}:session:*") == []


async def test_preferences_and_the_last_decision_are_kept(sessions: Sessions) -> None:
    id = await sessions.start(ANN, KEY)
    liked = Preferences("strong", True, "dark", 25)
    await sessions.prefer(await found(sessions, id), liked)
    await sessions.decided(await found(sessions, id), Last("case_1", "block", 1030.0))
    session = await found(sessions, id)
    assert (session.preferences, session.last) == (liked, Last("case_1", "block", 1030.0))
    await sessions.decided(session, None)
    assert (await found(sessions, id)).last is None


async def test_work_goes_on_until_a_break_which_being_away_is_too(sessions: Sessions, clock: Clock) -> None:
    id = await sessions.start(ANN, KEY)
    for _ in range(3):
        clock.now += AWAY
        await sessions.worked(await found(sessions, id), severe=True)
    work = (await found(sessions, id)).work
    assert (work.since, work.severe) == (1000.0, 3)
    clock.now += AWAY + 1
    await sessions.worked(await found(sessions, id))
    assert (await found(sessions, id)).work.since == clock.now
    assert (await found(sessions, id)).work.severe == 0


async def test_a_break_starts_the_count_anew(sessions: Sessions, clock: Clock) -> None:
    id = await sessions.start(ANN, KEY)
    await sessions.worked(await found(sessions, id), severe=True)
    clock.now += 60
    await sessions.rested(await found(sessions, id))
    work = (await found(sessions, id)).work
    assert work == replace(work, since=clock.now, severe=0)
