"""Who may ask for what, and the error that says so."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from gateway.live.embedded import EmbeddedRedis
from gateway.live.keys import Key, KeyStore, Role, digest
from tests.fakes import fake_vllm
from tests.gateway.harness import (
    CHAT,
    CODENAME,
    ask_as,
    document,
    gateway,
    request,
    until,
    wardgate_serve,
    with_tenants,
)

KEY = "wg-app-secret"
TENANT = {"name": "acme", "keys": [f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"], "models": ["assistant"]}
OTHER = {"name": "other", "keys": [f"sha256:{hashlib.sha256(b'other').hexdigest()}"], "models": ["assistant"]}


def two_models(upstream: str) -> str:
    second = '{"name": "second", "upstream": "vllm"}'
    config = with_tenants(document(upstream, CODENAME), TENANT, OTHER)
    return config.replace('"models": [{', f'"models": [{second}, {{', 1)


@pytest.mark.parametrize(
    ("key", "model", "status", "code"),
    [
        ("", "assistant", 401, "invalid_api_key"),
        ("wrong", "assistant", 401, "invalid_api_key"),
        (KEY, "second", 403, "model_not_allowed"),
        (KEY, "nobody", 404, "model_not_found"),
        (KEY, None, 404, "model_not_found"),
        (KEY, ["assistant"], 404, "model_not_found"),
    ],
)
async def test_who_may_not_is_told_so_and_the_model_is_not_asked(
    key: str, model: object, status: int, code: str, *, tmp_path: Path, redis_url: str
) -> None:
    async with fake_vllm() as vllm, gateway(two_models(vllm.url), tmp_path, redis_url) as url:
        answer = await ask_as(key, url, model=model)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-request-id"]
    assert not vllm.requests


async def test_a_tenant_is_served_its_models_and_its_key_stays_here(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm() as vllm, gateway(two_models(vllm.url), tmp_path, redis_url) as url:
        answer = await ask_as(KEY, url)
        async with httpx.AsyncClient(base_url=url) as client:
            listed = await client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})
            refused = await client.get("/v1/models")
    assert answer.status_code == 200
    assert "authorization" not in vllm.requests[0].headers
    assert [m["id"] for m in listed.json()["data"]] == ["assistant"]
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_tenants_own_policy_overrides_that_of_the_model(tmp_path: Path, redis_url: str) -> None:
    lax = '{"name": "lax", "guards": []}'
    config = with_tenants(document("URL", CODENAME), TENANT | {"policy": "lax"}, OTHER)
    config = config.replace('"policies": [{', f'"policies": [{lax}, {{', 1)
    async with fake_vllm() as vllm, gateway(config.replace("URL", vllm.url), tmp_path, redis_url) as url:
        mine = await ask_as(KEY, url, "Project Titan")
        theirs = await ask_as("other", url, "Project Titan")
    assert mine.headers["x-wardgate-policy"].startswith("lax@")
    assert mine.headers["x-wardgate-action"] == "allow"
    assert theirs.headers["x-wardgate-policy"].startswith("support@")
    assert theirs.headers["x-wardgate-action"] == "block"


KEYLESS = {"name": "acme", "models": ["assistant"]}


def live(secret: str, role: Role = "app", tenant: str = "acme", revoked: float | None = None) -> Key:
    return Key(digest(secret), tenant, role, secret[:13], time.time(), revoked)


async def post(url: str, headers: Mapping[str, str], path: str = CHAT) -> httpx.Response:
    body = request() if path == CHAT else {"input": "Hello"}
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.post(url + path, json=body, headers=headers)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer  {KEY}"}, 200),
        ({"x-api-key": KEY}, 200),
        ({"x-api-key": KEY, "authorization": "Bearer"}, 200),
        ({"x-api-key": KEY, "authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"authorization": KEY}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"x-api-key": TENANT["keys"][0]}, 401),
    ],
)
async def test_a_key_stands_where_openais_and_anthropics_clients_put_it(
    headers: Mapping[str, str], status: int, *, tmp_path: Path, redis_url: str
) -> None:
    async with fake_vllm() as vllm, gateway(two_models(vllm.url), tmp_path, redis_url) as url:
        answer = await post(url, headers)
    assert answer.status_code == status


IDENTITIES = {
    "x-wardgate-tenant": "other",
    "x-wardgate-role": "admin",
    "x-wardgate-policy": "lax",
    "x-forwarded-user": "root",
    "x-forwarded-email": "root@example.org",
    "x-remote-user": "root",
    "openai-organization": "org-root",
    "openai-project": "proj-root",
    "anthropic-organization-id": "root",
    "cookie": "session=root",
}


async def test_headers_that_name_somebody_are_neither_trusted_nor_handed_on(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm() as vllm, gateway(two_models(vllm.url), tmp_path, redis_url) as url:
        keyless = await post(url, IDENTITIES)
        answer = await post(url, IDENTITIES | {"x-api-key": KEY})
    assert keyless.status_code == 401
    assert answer.status_code == 200
    assert not vllm.requests[0].headers.keys() & {*IDENTITIES, "x-api-key", "authorization"}
    assert "root" not in str(vllm.requests[0].headers)


async def test_a_config_whose_tenants_have_no_keys_is_not_open(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    config = with_tenants(document("http://127.0.0.1:9"), KEYLESS)
    async with gateway(config, tmp_path, redis_url) as url:
        assert (await ask_as("", url)).status_code == 401
        assert (await ask_as("any", url)).status_code == 401


@pytest.mark.parametrize(
    ("role", "status"),
    [("app", 200), ("operator", 200), ("admin", 200), ("reviewer", 403), ("senior", 403), ("auditor", 403)],
)
async def test_only_some_roles_ask_models(
    role: Role, status: int, *, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    await KeyStore(redis).add(live("wg-live", role))
    async with fake_vllm() as vllm, gateway(with_tenants(document(vllm.url), KEYLESS), tmp_path, redis_url) as url:
        answer = await ask_as("wg-live", url)
        moderated = await post(url, {"x-api-key": "wg-live"}, "/v1/moderations")
        async with httpx.AsyncClient(base_url=url) as client:
            listed = await client.get("/v1/models", headers={"x-api-key": "wg-live"})
    assert (answer.status_code, moderated.status_code, listed.status_code) == (status, status, 200)
    assert len(vllm.requests) == (status == 200)
    if status == 403:
        assert answer.json()["error"]["code"] == "role_not_allowed"
        assert role in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "key",
    [live("wg-live", tenant="nobody"), live("wg-live", revoked=1.0), live("wg-lives")],
    ids=["tenant not in the config", "revoked", "another key"],
)
async def test_a_live_key_that_opens_nothing(key: Key, *, tmp_path: Path, redis_url: str, redis: Redis) -> None:
    await KeyStore(redis).add(key)
    config = with_tenants(document("http://127.0.0.1:9"), KEYLESS)
    async with gateway(config, tmp_path, redis_url) as url:
        assert (await ask_as("wg-live", url)).status_code == 401


async def test_a_revoked_key_stays_so_even_if_its_hash_stands_in_the_config(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    await KeyStore(redis).add(live(KEY, revoked=1.0))
    async with gateway(two_models("http://127.0.0.1:9"), tmp_path, redis_url) as url:
        assert (await ask_as(KEY, url)).status_code == 401
        assert (await ask_as("other", url)).status_code == 503  # known, and the model is not there


async def test_while_redis_is_away_live_keys_go_on(server: EmbeddedRedis, client: Redis, tmp_path: Path) -> None:
    await KeyStore(client).add(live("wg-live"))
    folder = tmp_path / "gateway"
    folder.mkdir()
    async with fake_vllm() as vllm, gateway(with_tenants(document(vllm.url), KEYLESS), folder, server.url) as url:
        assert (await ask_as("wg-live", url)).status_code == 200
        server.stop()
        await asyncio.sleep(1.0)
        assert (await ask_as("wg-live", url)).status_code == 200
        assert (await ask_as("wg-other", url)).status_code == 401


async def test_no_key_costs_a_round_trip(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    await KeyStore(redis).add(live("wg-live"))
    async with fake_vllm() as vllm, gateway(with_tenants(document(vllm.url), KEYLESS), tmp_path, redis_url) as url:
        await redis.config_resetstat()
        for key in ("wg-live", "wrong") * 50:
            await ask_as(key, url)
        stats = await redis.info("commandstats")
    busy = {name: each["calls"] for name, each in stats.items() if each["calls"] >= 50}
    assert busy == {}  # but for the gateway's clocks, which ask a few times a second


async def test_keys_are_made_and_revoked_while_workers_run(tmp_path: Path) -> None:
    def wardgate(*words: str) -> str:
        environ = {
            **os.environ,
            "WARDGATE_DATA": str(tmp_path / "data"),
            "WARDGATE_CONFIG": str(tmp_path / "wardgate.yaml"),
        }
        environ.pop("WARDGATE_REDIS_URL", None)
        command = [sys.executable, "-m", "gateway.cli", "keys", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environ).stdout

    async with (
        fake_vllm() as vllm,
        wardgate_serve(with_tenants(document(vllm.url), KEYLESS), tmp_path, "--workers", "2") as running,
    ):
        made = await asyncio.to_thread(wardgate, "new", "--tenant", "acme")
        key, id = (re.search(rf"^{name}: +(\S+)$", made, re.MULTILINE) for name in ("key", "id"))
        assert key is not None
        assert id is not None

        async def all_answer(status: int) -> bool:
            answers = await asyncio.gather(*(ask_as(key[1], running.url) for _ in range(12)))
            return all(a.status_code == status for a in answers)

        await until(lambda: all_answer(200), 2.0)
        await asyncio.to_thread(wardgate, "revoke", id[1])
        await until(lambda: all_answer(401), 2.0)
