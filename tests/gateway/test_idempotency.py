"""`Idempotency-Key`: asked twice, answered once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam
from redis.asyncio import Redis

from gateway.api.asgi import Message
from gateway.errors import IdempotencyInProgress
from gateway.idempotency import Once
from gateway.live.answers import Answers, Kept
from gateway.live.batch import Batch
from gateway.live.embedded import EmbeddedRedis
from gateway.metrics import Metrics
from guards.policy import Server
from tests.fakes import (
    FOREVER,
    FakeVLLM,
    Reply,
    Request,
    Script,
    chat_frames,
    chat_json,
    echo,
    fake_vllm,
    stream,
)
from tests.gateway.harness import CHAT, CODENAME, document, gateway, request, until, with_tenants
from tests.gateway.live.test_limits import Late
from tests.gateway.test_limits import counter

SAME = frozenset({"x-request-id", "date", "idempotent-replayed", "original-request"})
"""Headers in which a replay may differ."""


def counting() -> Callable[[Request], Reply]:
    """No two answers are alike."""
    numbers = iter(range(1000))

    def script(asked: Request) -> Reply:
        number = next(numbers)
        if asked.body.get("stream"):
            return stream(chat_frames(["answer ", str(number)]))
        return Reply([chat_json(f"answer {number}")])

    return script


@asynccontextmanager
async def serving(
    folder: Path, redis_url: str, script: Script, **policy: object
) -> AsyncIterator[tuple[httpx.AsyncClient, FakeVLLM]]:
    async with (
        fake_vllm(script) as vllm,
        gateway(document(vllm.url, CODENAME, **policy), folder, redis_url) as url,
        httpx.AsyncClient(base_url=url, timeout=10) as client,
    ):
        yield client, vllm


async def ask(
    client: httpx.AsyncClient, key: str, content: str = "Hello", *, auth: str = "", **more: object
) -> httpx.Response:
    headers = {"idempotency-key": key} | ({"x-api-key": auth} if auth else {})
    return await client.post(CHAT, json=request(content, **more), headers=headers)


def comparable(headers: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k not in SAME and k not in ("transfer-encoding", "content-length")}


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_second_time_gets_the_first_answer_byte_for_byte(
    streamed: bool, *, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with serving(tmp_path, redis_url, counting()) as (client, vllm):
        first = await ask(client, "k", stream=streamed)
        again = [await ask(client, "k", stream=streamed) for _ in range(3)]
        other = await ask(client, "another", stream=streamed)
    assert first.status_code == 200
    assert {a.content for a in again} == {first.content}
    assert other.content != first.content
    assert len(vllm.requests) == 2
    assert all(comparable(a.headers) == comparable(first.headers) for a in again)
    assert {a.headers["original-request"] for a in again} == {first.headers["x-request-id"]}
    assert {a.headers["idempotent-replayed"] for a in again} == {"true"}
    assert "idempotent-replayed" not in first.headers
    assert len({a.headers["x-request-id"] for a in [first, *again]}) == 4


async def test_without_a_key_every_request_is_served_and_nothing_is_kept(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with serving(tmp_path, redis_url, counting()) as (client, vllm):
        for _ in range(2):
            await client.post(CHAT, json=request())
    assert len(vllm.requests) == 2
    assert not [k for k in await redis.keys() if b"answer" in k]


async def test_another_request_under_the_same_key_is_a_conflict(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with serving(tmp_path, redis_url, counting()) as (client, vllm):
        await ask(client, "k")
        answers = [await ask(client, "k", "Other"), await ask(client, "k", stream=True)]
    assert {(a.status_code, a.json()["error"]["code"]) for a in answers} == {(409, "idempotency_mismatch")}
    assert len(vllm.requests) == 1


async def test_one_tenants_keys_are_not_anothers(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    tenants = [
        {"name": n, "keys": [f"sha256:{hashlib.sha256(n.encode()).hexdigest()}"], "models": ["assistant"]}
        for n in ("one", "two")
    ]
    async with (
        fake_vllm(counting()) as vllm,
        gateway(with_tenants(document(vllm.url), *tenants), tmp_path, redis_url) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        mine, theirs = [await ask(client, "k", auth=name) for name in ("one", "two")]
        unknown = await ask(client, "k", auth="three")
    assert mine.content != theirs.content
    assert unknown.status_code == 401


async def test_a_twin_is_told_to_come_back_and_then_gets_the_answer(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    slow = Reply([chat_json("slow")], before=0.5)
    async with serving(tmp_path, redis_url, slow) as (client, vllm):
        first = asyncio.create_task(ask(client, "k"))

        async def asked() -> bool:
            return len(vllm.requests) == 1

        await until(asked)
        twin = await ask(client, "k")
        whole = await first
        later = await ask(client, "k")
    assert (twin.status_code, twin.json()["error"]["code"]) == (409, "idempotency_in_progress")
    assert twin.headers["retry-after"] == "1"
    assert later.content == whole.content
    assert len(vllm.requests) == 1


async def test_of_many_twins_one_reaches_the_model(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with serving(tmp_path, redis_url, counting()) as (client, vllm):
        answers = await asyncio.gather(*(ask(client, "k") for _ in range(30)))
    assert len(vllm.requests) == 1
    assert {a.status_code for a in answers} <= {200, 409}
    assert len({a.content for a in answers if a.status_code == 200}) == 1


async def test_the_sdk_waits_for_its_own_twin(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    messages: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hello"}]
    slow = Reply([chat_json("slow")], before=0.3)
    async with (
        serving(tmp_path, redis_url, slow) as (client, vllm),
        openai.AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key="any", max_retries=3) as sdk,
    ):
        create = sdk.chat.completions.create
        pair = [create(model="assistant", messages=messages, extra_headers={"Idempotency-Key": "k"}) for _ in range(2)]
        answers = await asyncio.gather(*pair)
    assert [a.choices[0].message.content for a in answers] == ["slow", "slow"]
    assert len(vllm.requests) == 1


BROKEN = stream(chat_frames(["Hello", " there"])[:2])


@pytest.mark.parametrize(
    ("bad", "streamed"),
    [
        (Reply([b"{}"], status=500), False),
        (Reply([b"not json"]), False),
        (Reply([b'{"error": {"message": "busy"}}'], status=429), False),
        (BROKEN, True),
    ],
    ids=["500", "broken body", "429", "broken stream"],
)
async def test_an_answer_that_may_come_out_better_is_not_kept(
    bad: Reply, streamed: bool, *, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    good = stream(chat_frames(["good"])) if streamed else Reply([chat_json("good")])
    async with serving(tmp_path, redis_url, [bad, good]) as (client, vllm):
        first = await ask(client, "k", stream=streamed)
        second = await ask(client, "k", stream=streamed)
    assert b"good" not in first.content
    assert b"good" in second.content
    assert len(vllm.requests) == 2


async def test_a_blocked_request_is_blocked_the_same_again(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with serving(tmp_path, redis_url, echo, on_block="error") as (client, vllm):
        answers = [await ask(client, "k", "Project Titan") for _ in range(2)]
    assert [a.status_code for a in answers] == [400, 400]
    assert answers[0].content == answers[1].content
    assert answers[1].headers["x-wardgate-action"] == "block"
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert not vllm.requests


async def test_after_a_client_that_left_the_request_is_served_anew(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    endless = stream([*chat_frames(["Hello"])[:2], FOREVER])
    async with serving(tmp_path, redis_url, [endless, Reply([chat_json("good")])]) as (client, vllm):
        body = request(stream=True)
        async with client.stream("POST", CHAT, json=body, headers={"idempotency-key": "k"}) as answer:
            assert answer.status_code == 200
        await vllm.left.wait()

        async def served() -> bool:
            vllm.script = stream(chat_frames(["good"]))
            return b"good" in (await ask(client, "k", stream=True)).content

        await until(served)


async def test_an_answer_past_the_bound_is_not_kept(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    config = document("URL").replace('"version": 1', '"version": 1, "server": {"idempotency_max_answer": 2000}')
    async with (
        fake_vllm() as vllm,
        gateway(config.replace("URL", vllm.url), tmp_path, redis_url) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        for content in ("x" * 3000, "short"):
            for _ in range(2):
                assert (await ask(client, content[:5], content)).status_code == 200
    assert len(vllm.requests) == 3


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_a_key_that_is_none_is_refused(key: str, *, tmp_path: Path, redis_url: str) -> None:
    async with serving(tmp_path, redis_url, echo) as (client, vllm):
        answer = await ask(client, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert "Idempotency-Key" in answer.json()["error"]["message"]
    assert not vllm.requests


async def test_without_redis_requests_are_served(server: EmbeddedRedis, tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    folder.mkdir()
    async with serving(folder, server.url, counting()) as (client, _):
        server.stop()
        answers = [await ask(client, "k") for _ in range(2)]
        text = (await client.get("/metrics")).text
    assert [a.status_code for a in answers] == [200, 200]
    assert counter(text, "wardgate_idempotent_requests_total", result="unavailable") == 2


async def test_a_replay_counts_as_a_request_and_uses_no_tokens(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    limits = {"requests_per_minute": 10, "tokens_per_minute": 1000}
    tenant = {"name": "t", "keys": [f"sha256:{hashlib.sha256(b't').hexdigest()}"], "models": ["assistant"]}
    async with (
        fake_vllm() as vllm,
        gateway(with_tenants(document(vllm.url), tenant | {"limits": limits}), tmp_path, redis_url) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        answers = [await ask(client, "k", auth="t", max_tokens=100) for _ in range(4)]
    left = [(a.headers["x-ratelimit-remaining-requests"], a.headers["x-ratelimit-remaining-tokens"]) for a in answers]
    assert [r for r, _ in left] == ["9", "8", "7", "6"]
    assert len({t for _, t in left[1:]}) == 1


async def test_answers_are_kept_for_as_long_as_the_config_says(redis: Redis) -> None:
    answers = Answers(Batch(redis), lease=0.2)
    name = answers.name("acme", "k")
    await answers.begin(name, "digest", "owner")
    assert 0 < await redis.pttl(name) <= 200
    await answers.keep(name, "owner", Kept(200, [], b"x"), 86_400.0)
    assert 86_000_000 < await redis.pttl(name) <= 86_400_000


async def test_a_gateway_that_was_killed_leaves_its_key_free_and_one_that_is_late_keeps_nothing(redis: Redis) -> None:
    answers = Answers(Batch(redis), lease=0.5)
    name = answers.name("acme", "k")
    await answers.begin(name, "digest", "killed")
    await asyncio.sleep(0.55)
    assert (await answers.begin(name, "digest", "second")).state == "new"
    await answers.keep(name, "killed", Kept(200, [], b"late"), 60.0)
    answers.drop(name, "killed")
    assert (await answers.begin(name, "digest", "third")).state == "in_progress"


async def test_the_same_request_in_another_order_of_keys_is_the_same(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    bodies = [
        b'{"model": "assistant", "temperature": 0.5, "messages": [{"role": "user", "content": "Hello"}]}',
        b'{"messages":[{"content":"Hello","role":"user"}],"temperature":5e-1,"model":"assistant"}',
        b'{"messages":[{"content":"Hello","role":"user"}],"temperature":0.25,"model":"assistant"}',
    ]
    async with serving(tmp_path, redis_url, counting()) as (client, vllm):
        answers = [await client.post(CHAT, content=body, headers={"idempotency-key": "k"}) for body in bodies]
    assert [a.status_code for a in answers] == [200, 200, 409]
    assert answers[0].content == answers[1].content
    assert len(vllm.requests) == 1


async def test_a_key_of_one_surface_is_a_conflict_on_another(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with serving(tmp_path, redis_url, counting()) as (client, _):
        await ask(client, "k")
        other = await client.post("/v1/messages", json=request(max_tokens=5), headers={"idempotency-key": "k"})
    assert other.status_code == 409


async def test_who_may_no_longer_use_the_model_gets_no_replay(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    tenant = {"name": "t", "keys": [f"sha256:{hashlib.sha256(b't').hexdigest()}"]}
    second = '{"name": "second", "upstream": "vllm"}'
    async with fake_vllm(counting()) as vllm:
        config = document(vllm.url).replace('"models": [{', f'"models": [{second}, {{', 1)
        for models, status in ((["assistant", "second"], 200), (["second"], 403)):
            async with (
                gateway(with_tenants(config, tenant | {"models": models}), tmp_path, redis_url) as url,
                httpx.AsyncClient(base_url=url) as client,
            ):
                assert (await ask(client, "k", auth="t")).status_code == status


def kept(size: int) -> Kept:
    return Kept(200, [("content-type", "application/json")], b"x" * size)


async def begun(answers: Answers, name: str) -> str:
    return (await answers.begin(name, "digest", name)).state


async def test_the_answers_of_a_tenant_have_only_so_much_room_and_the_oldest_make_it(redis: Redis) -> None:
    answers = Answers(Batch(redis), room=10_000)
    names = [answers.name("acme", str(i)) for i in range(8)]
    theirs = answers.name("other", "k")
    for name in (theirs, *names):
        await begun(answers, name)
        await answers.keep(name, name, kept(2000), 60.0)
    assert [await begun(answers, name) for name in names] == ["new"] * 5 + ["replayed"] * 3
    assert await begun(answers, theirs) == "replayed"
    assert 0 < int(await redis.get(f"{names[0].rpartition(':')[0]}:size") or 0) <= 10_000


async def test_what_has_run_out_takes_no_room(redis: Redis) -> None:
    answers = Answers(Batch(redis), room=10_000)
    first, *names = [answers.name("acme", str(i)) for i in range(4)]
    await begun(answers, first)
    await answers.keep(first, first, kept(8000), 0.1)
    await asyncio.sleep(0.15)
    for name in names:
        await begun(answers, name)
        await answers.keep(name, name, kept(2000), 60.0)
    assert [await begun(answers, name) for name in (first, *names)] == ["new"] + ["replayed"] * 3


async def test_an_answer_larger_than_the_room_is_not_kept(redis: Redis) -> None:
    answers = Answers(Batch(redis), room=1000)
    name = answers.name("acme", "k")
    await begun(answers, name)
    await answers.keep(name, name, kept(2000), 60.0)
    assert await begun(answers, name) == "new"


async def test_no_key_of_a_client_stands_in_redis_as_it_was_sent(redis: Redis) -> None:
    answers = Answers(Batch(redis))
    assert "swordfish" not in answers.name("acme", "swordfish")
    assert answers.name("a", "bc") != answers.name("ab", "c")


async def test_a_key_that_a_slow_redis_took_is_free_in_the_end(redis: Redis) -> None:
    batch = Late(redis)
    answers = Answers(batch)
    first, again = (Once(answers, Metrics.build(), Server(), answers.name("acme", "k")) for _ in range(2))
    batch.late = True
    assert await first.replay("id", discard) is None
    batch.late = False
    with pytest.raises(IdempotencyInProgress):
        await again.replay("id", discard)
    first.leave()
    await batch.close()
    assert await again.replay("id", discard) is None
    again.leave()
    await batch.close()


async def discard(_: Message) -> None:
    pass
