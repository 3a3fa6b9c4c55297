from __future__ import annotations

import asyncio
from functools import partial

from redis.asyncio import Redis

from gateway.review.decided import Decided
from gateway.review.letters import LetterBox
from tests.fakes import FOREVER, Reply, fake_vllm
from tests.gateway.review.telling import (
    FINE,
    Telling,
    running,
    until,
)


async def test_a_letter_that_a_dead_process_had_taken_is_sent_by_another(redis: Redis) -> None:
    async with fake_vllm(Reply([], before=FOREVER)) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide()
        async with running(told.dispatcher(box=LetterBox(redis, lease=0.5))):
            await until(lambda: len(app.requests) == 1)
        app.script = FINE
        async with running(told.dispatcher()):
            await until(lambda: told.tally.results == ["delivered"])
    assert len({request.body["event_id"] for request in app.requests}) == 1


async def test_who_lost_a_letter_changes_nothing_of_it(redis: Redis) -> None:
    told = Telling.at(redis, {"url": "http://127.0.0.1:1"})
    await told.decide()
    reader, box = Decided(redis, told.queue.decided), LetterBox(redis, lease=0.01)
    await reader.join()
    [event] = await reader.new()
    assert await box.put(reader.stream, event, ["http://127.0.0.1:1"])
    assert not await box.put(reader.stream, event, ["http://127.0.0.1:1"])
    late = await box.take("http://127.0.0.1:1")
    await asyncio.sleep(0.05)
    held = await LetterBox(redis).take("http://127.0.0.1:1")
    assert late is not None
    assert held is not None
    assert (late.tries, held.tries) == (1, 2)
    await box.drop(late)
    await box.bury(late, "too late")
    assert await box.dead() == []
    await box.bury(held, "now")
    assert [letter.error for letter, _ in await box.dead()] == ["now"]


async def test_only_the_latest_dead_letters_are_kept(redis: Redis) -> None:
    told = Telling.at(redis, {"url": "http://127.0.0.1:1"})
    dispatcher = told.dispatcher(delays=(), box=LetterBox(redis, kept=2))
    async with running(dispatcher):
        for i in range(4):
            await told.decide(f"case_{i}")
            await until(partial(told.tally.reached, i + 1))
    assert [dead["case"] for dead in await dispatcher.dead()] == ["case_3", "case_2"]
    assert len(await redis.keys("*:hooks:letter:*")) == 2
