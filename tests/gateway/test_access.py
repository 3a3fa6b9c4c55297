"""Who may ask for what, and the error that says so."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from tests.fakes import fake_vllm
from tests.gateway.harness import CODENAME, ask_as, document, gateway, with_tenants

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
