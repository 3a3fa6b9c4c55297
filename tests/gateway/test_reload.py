"""A new config takes effect as a whole, for new requests alone, and only if it is right."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from tests.fakes import Piece, Reply, chat_frame, fake_vllm
from tests.gateway.harness import CHAT, CODENAME, CONFIG, EMAIL, ask, document, gateway, request, until, with_tenants


async def policy_of(url: str) -> str:
    return (await ask(url)).headers["x-wardgate-policy"]


async def ready(url: str) -> tuple[int, Any]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/health/ready")
    return answer.status_code, answer.json()


async def changed(url: str, old: str) -> str:
    """The policy that follows `old`."""

    async def holds() -> bool:
        return await policy_of(url) != old

    await until(holds)
    return await policy_of(url)


async def test_a_changed_file_takes_effect(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm() as vllm, gateway(document(vllm.url), tmp_path, redis_url) as url:
        old = await policy_of(url)
        (tmp_path / CONFIG).write_text(document(vllm.url, CODENAME))
        new = await changed(url, old)
        answer = await ask(url, "Project Titan")
    assert answer.headers["x-wardgate-policy"] == new
    assert answer.headers["x-wardgate-action"] == "block"


async def test_a_hangup_reloads_even_a_file_that_looks_the_same(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm() as vllm, gateway(document(vllm.url, refusal="Not A"), tmp_path, redis_url) as url:
        old = await policy_of(url)
        file = tmp_path / CONFIG
        seen = file.stat()
        file.write_text(document(vllm.url, refusal="Not B"))
        os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        os.kill(os.getpid(), signal.SIGHUP)
        assert await changed(url, old) != old


async def test_a_request_in_flight_finishes_under_the_policy_that_it_began_with(tmp_path: Path, redis_url: str) -> None:
    go = asyncio.Event()

    async def pieces() -> AsyncIterator[Piece]:
        yield chat_frame({"role": "assistant", "content": "It is "})
        await go.wait()
        yield chat_frame({"content": "Project Titan."})
        yield chat_frame({}, finish="stop")
        yield b"data: [DONE]\n\n"

    slow = Reply(pieces(), headers={"content-type": "text/event-stream"})
    async with (
        fake_vllm(lambda r: slow if r.body.get("stream") else Reply([b"{}"], 500)) as vllm,
        gateway(document(vllm.url, EMAIL), tmp_path, redis_url) as url,
        httpx.AsyncClient() as client,
        client.stream("POST", url + CHAT, json=request(stream=True)) as answer,
    ):
        old = answer.headers["x-wardgate-policy"]
        (tmp_path / CONFIG).write_text(document(vllm.url, EMAIL, CODENAME))
        new = await changed(url, old)
        go.set()
        text = (await answer.aread()).decode()
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    said = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    assert said == "It is Project Titan."
    assert old in text
    assert new not in text


async def test_a_wrong_file_leaves_the_old_policy_in_force_and_says_so(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm() as vllm, gateway(document(vllm.url, CODENAME), tmp_path, redis_url) as url:
        right = (tmp_path / CONFIG).read_text()
        old = await policy_of(url)
        (tmp_path / CONFIG).write_text(right.replace('"kind": "pattern"', '"kind": "patern"'))

        async def told() -> bool:
            return bool((await ready(url))[1]["config"] != "ok")

        await until(told)
        status, body = await ready(url)
        assert await policy_of(url) == old
        (tmp_path / CONFIG).write_text(right)

        async def healed() -> bool:
            return not await told()

        await until(healed)
    assert status == 200
    assert "patern" in body["config"]
    assert "pattern" in body["config"]


async def test_no_reload_opens_a_gateway_that_asks_for_keys(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm() as vllm:
        tenant = {"name": "acme", "keys": ["sha256:" + "a" * 64], "models": ["assistant"]}
        async with gateway(with_tenants(document(vllm.url), tenant), tmp_path, redis_url) as url:
            (tmp_path / CONFIG).write_text(document(vllm.url))

            async def told() -> bool:
                return "tenants" in str(await ready(url))

            await until(told)
            assert (await ask(url)).status_code == 401
