from __future__ import annotations

from redis.asyncio import Redis

from gateway.review.post import signature
from tests.fakes import FOREVER, Reply, fake_vllm
from tests.gateway.review.telling import (
    FINE,
    Telling,
    running,
    until,
    until_dead,
)


async def test_a_redirect_is_a_failure_and_is_not_followed(redis: Redis) -> None:
    async with fake_vllm(FINE) as other, fake_vllm(Reply([], 307, {"location": other.url})) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide()
        dispatcher = told.dispatcher(delays=())
        async with running(dispatcher):
            [dead] = await until_dead(dispatcher)
    assert dead["error"] == "status 307"
    assert other.requests == []


async def test_an_endless_answer_is_not_read(redis: Redis) -> None:
    async with fake_vllm(Reply([b"x", FOREVER])) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide()
        async with running(told.dispatcher()):
            await until(lambda: told.tally.results == ["delivered"], 3)


async def test_an_address_that_does_not_listen_is_tried_again(redis: Redis) -> None:
    told = Telling.at(redis, {"url": "http://127.0.0.1:1"})
    await told.decide()
    dispatcher = told.dispatcher(delays=(0.02,))
    async with running(dispatcher):
        [dead] = await until_dead(dispatcher)
    assert dead["error"] == "no connection: ConnectError"


def test_a_signature_is_the_one_that_others_compute() -> None:
    """Computed with `printf '1700000000.{}' | openssl dgst -sha256 -hmac between-us`."""
    assert (
        signature("between-us", 1700000000, b"{}")
        == "v1=fa52e786ea6d2ff1244433a072ca53c73bdedc5bd083dd6d0a23795dd1558d9e"
    )
