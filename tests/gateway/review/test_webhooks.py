"""Decisions of the real queue, told to a real HTTP server."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

from redis.asyncio import Redis

from gateway.live.flags import text
from gateway.review.decided import GROUP
from gateway.review.decision import Decision
from gateway.review.webhooks import AT_ONCE
from tests.fakes import FOREVER, Reply, Request, fake_vllm
from tests.gateway.review.telling import (
    ANSWER,
    BROKEN,
    FINE,
    PATH,
    Telling,
    cases,
    plans,
    running,
    signed,
    until,
    until_dead,
)


async def test_a_decision_is_told_once_and_signed(redis: Redis) -> None:
    async with fake_vllm(FINE) as app:
        told = Telling.at(redis, {"url": app.url + "/reviews"})
        await told.decide(choice="allow_with_edit", edits={PATH: "a milder one"})
        async with running(told.dispatcher()):
            await until(lambda: told.tally.results == ["delivered"])
            await asyncio.sleep(0.2)
    [request] = app.requests
    assert (request.method, request.path) == ("POST", "/reviews")
    assert signed(request)
    body = request.body
    assert body.pop("event_id").startswith("evt_")
    assert abs(time.time() - body.pop("decided_at")) < 10
    assert body == {
        "type": "review.decided",
        "case": "case_1",
        "request_id": "req-1",
        "decision": "allow_with_edit",
        "final_output": {"choices": [{"message": {"content": "a milder one"}}]},
        "reason_code": "other",
        "policy": "support@abc",
        "superseded": False,
    }


async def test_nothing_of_a_letter_stays_behind_and_no_text_is_in_it(redis: Redis) -> None:
    async with fake_vllm(BROKEN) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide()
        async with running(told.dispatcher(delays=(60.0,))):
            await until(lambda: told.tally.results == ["failed"])
        [name] = await redis.keys("*:hooks:letter:*")
        assert "original" not in str(await redis.hgetall(name))
        app.script = FINE
        await redis.zadd((await redis.keys("*:hooks:due:*"))[0], {text(name).rpartition(":")[2]: 0})
        async with running(told.dispatcher()):
            await until(lambda: "delivered" in told.tally.results)
            await asyncio.sleep(0.1)
    assert await redis.keys("*:hooks*") == []
    assert (await redis.xpending("{wardgate}:review:decided", GROUP))["pending"] == 0


async def test_a_letter_is_tried_again_with_the_same_event_and_body(redis: Redis) -> None:
    async with fake_vllm([BROKEN, BROKEN, FINE]) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide()
        async with running(told.dispatcher()):
            await until(lambda: told.tally.results == ["failed", "failed", "delivered"])
    assert len({request.raw for request in app.requests}) == 1
    assert all(map(signed, app.requests))


async def test_delays_grow_as_they_are_said(redis: Redis) -> None:
    seen: list[float] = []

    def refuse(request: Request) -> Reply:
        seen.append(time.monotonic())
        return BROKEN

    async with fake_vllm(refuse) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide()
        dispatcher = told.dispatcher(delays=(0.1, 0.5))
        async with running(dispatcher):
            await until_dead(dispatcher)
    first, second = (b - a for a, b in pairwise(seen))
    assert 0.1 <= first < 0.45
    assert 0.5 <= second < 1.2


async def test_after_the_last_try_it_is_dead_and_can_be_sent_again(redis: Redis) -> None:
    async with fake_vllm(BROKEN) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide()
        dispatcher = told.dispatcher()
        async with running(dispatcher):
            [dead] = await until_dead(dispatcher)
            assert len(app.requests) == 6
            assert (dead["url"], dead["case"], dead["tenant"], dead["error"]) == (
                app.url,
                "case_1",
                "acme",
                "status 500",
            )
            assert abs(time.time() - dead["at"]) < 10
            app.script = FINE
            assert await dispatcher.resend(dead["id"])
            await until(lambda: told.tally.results[-1] == "delivered")
            assert await dispatcher.dead() == []
            assert not await dispatcher.resend(dead["id"])
    assert told.tally.results == ["failed"] * 5 + ["dead", "delivered"]
    assert len({request.body["event_id"] for request in app.requests}) == 1


async def test_a_tenants_address_gets_that_tenants_decisions_only(redis: Redis) -> None:
    async with fake_vllm(FINE) as mine, fake_vllm(FINE) as all_:
        told = Telling.at(redis, {"url": mine.url, "tenants": ["acme"]}, {"url": all_.url})
        await told.decide("case_1")
        await told.decide("case_2", tenant="other")
        async with running(told.dispatcher()):
            await until(lambda: len(told.tally.results) == 3)
    assert cases(mine) == ["case_1"]
    assert sorted(cases(all_)) == ["case_1", "case_2"]


async def test_an_address_that_hangs_does_not_keep_the_others(redis: Redis) -> None:
    async with fake_vllm(Reply([], before=FOREVER)) as stuck, fake_vllm(FINE) as app:
        told = Telling.at(redis, {"url": stuck.url}, {"url": app.url})
        for i in range(2 * AT_ONCE):
            await told.decide(f"case_{i}")
        async with running(told.dispatcher()):
            await until(lambda: len(app.requests) == 2 * AT_ONCE, 4)
            await until(lambda: len(stuck.requests) >= AT_ONCE)
            await asyncio.sleep(0.2)
            assert len(stuck.requests) == AT_ONCE


async def test_many_dispatchers_tell_each_decision_once(redis: Redis) -> None:
    async with fake_vllm(FINE) as app:
        told = Telling.at(redis, {"url": app.url})
        async with running(*(told.dispatcher() for _ in range(4))):
            for i in range(40):
                await told.decide(f"case_{i}")
            await until(lambda: len(told.tally.results) == 40)
            await asyncio.sleep(0.2)
    assert sorted(cases(app)) == sorted(f"case_{i}" for i in range(40))


async def test_an_address_that_left_the_config_gets_nothing_more(redis: Redis) -> None:
    async with fake_vllm(BROKEN) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide()
        dispatcher = told.dispatcher(delays=(0.2,))
        async with running(dispatcher):
            await until(lambda: len(app.requests) == 1)
            told.plans.plan = plans().plan
            [dead] = await until_dead(dispatcher)
    assert dead["error"] == "the address is not configured any more"
    assert len(app.requests) == 1


async def test_a_forgotten_case_is_not_told_of(redis: Redis) -> None:
    async with fake_vllm(BROKEN) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide()
        async with running(told.dispatcher(delays=(0.3,))):
            await until(lambda: len(app.requests) == 1)
            await told.queue.forget("case_1")
            await until(lambda: told.tally.results == ["failed", "gone"])
    assert await redis.keys("*:hooks:letter:*") == []


async def test_each_letter_tells_of_its_own_decision(redis: Redis) -> None:
    """The first is tried again after the second one was made."""
    async with fake_vllm([BROKEN, FINE]) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide(choice="block")
        async with running(told.dispatcher(delays=(0.5,))):
            await until(lambda: told.tally.results == ["failed"])
            await told.queue.supersede(Decision("case_1", "allow", "eve", time.time(), "other", supersedes=True))
            await told.queue.settle()
            await until(lambda: len(told.tally.results) == 3)
    said = {(r.body["decision"], r.body["superseded"]): r.body["final_output"] for r in app.requests}
    assert said == {("block", False): {"refused": True}, ("allow", True): ANSWER}
    assert len({r.body["event_id"] for r in app.requests}) == 2


async def test_it_stops_whenever_it_is_told_to(redis: Redis) -> None:
    """Each time a little later, and with new connections: there cancellations can be lost."""
    told = Telling.at(redis, {"url": "http://127.0.0.1:1"})
    for i in range(60):
        await redis.connection_pool.disconnect(inuse_connections=False)
        task = asyncio.create_task(told.dispatcher().run())
        await asyncio.sleep(0.0003 * i)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=3)
        assert done
