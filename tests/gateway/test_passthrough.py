"""Paths that the config hands on as they are, and those that it does not."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from guards.catalog import KINDS
from guards.document import DocumentError, load
from tests.fakes import FOREVER, FakeVLLM, Reply, Request, fake_vllm, raw_head, raw_server
from tests.gateway.harness import CODENAME, document, gateway, until, with_tenants

PATHS = ["/tokenize", "/v1/score", "/v1/audio/speech", "/version"]
KEY = "wg-app-secret"
IDENTITY = {
    "authorization": f"Bearer {KEY}",
    "x-api-key": KEY,
    "cookie": "session=1",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-user": "root",
    "openai-organization": "org-1",
    "x-wardgate-policy": "none",
}


def config(upstream: str, paths: list[str] | None = None, **upstream_more: object) -> str:
    data = json.loads(document(upstream, CODENAME))
    data["passthrough"] = PATHS if paths is None else paths
    data["upstreams"][0] |= upstream_more
    return json.dumps(data)


def two_upstreams(first: str, second: str) -> str:
    data = json.loads(config(first))
    data["upstreams"].append({"name": "other", "base_urls": [f"{second}/v1"]})
    data["models"].append({"name": "scorer", "upstream": "other"})
    return json.dumps(data)


def tenant(*models: str, key: str = KEY) -> dict[str, object]:
    return {"name": key, "keys": [f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"], "models": list(models)}


def mirror(request: Request) -> Reply:
    return Reply([b'{"tokens": [1, 2]}'], 201 if request.method == "PUT" else 200)


async def call(url: str, method: str, path: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.request(method, url + path, **more)


async def one(
    tmp_path: Path, redis_url: str, method: str = "POST", path: str = "/tokenize", **more: Any
) -> tuple[httpx.Response, FakeVLLM]:
    async with fake_vllm(mirror) as vllm, gateway(config(vllm.url), tmp_path, redis_url) as url:
        return await call(url, method, path, **more), vllm


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/tokenize"),
        ("POST", "/v1/score"),
        ("GET", "/version?a=b%20c"),
        ("PUT", "/v1/score"),
        ("DELETE", "/version"),
    ],
)
async def test_a_listed_path_reaches_the_upstream_at_the_same_place(
    method: str, path: str, tmp_path: Path, redis_url: str
) -> None:
    answer, vllm = await one(tmp_path, redis_url, method, path)
    assert answer.status_code == (201 if method == "PUT" else 200)
    assert answer.json() == {"tokens": [1, 2]}
    assert (vllm.requests[0].method, vllm.requests[0].path) == (method, path.partition("?")[0])
    assert answer.headers["x-request-id"]
    assert answer.headers["x-wardgate-policy"].startswith("none@")


async def test_the_body_of_a_request_stays_as_it_is(tmp_path: Path, redis_url: str) -> None:
    raw = b'{ "prompt":"Project Titan",  "n": 1.50 }'
    _, vllm = await one(tmp_path, redis_url, content=raw, headers={"content-type": "application/json"})
    assert vllm.requests[0].raw == raw


async def test_another_type_of_body_keeps_its_type(tmp_path: Path, redis_url: str) -> None:
    _, vllm = await one(tmp_path, redis_url, files={"file": ("a.wav", b"\0\1")}, headers={"accept": "text/plain"})
    assert vllm.requests[0].headers["content-type"].startswith("multipart/form-data; boundary=")
    assert vllm.requests[0].headers["accept"] == "text/plain"
    assert b"\0\1" in vllm.requests[0].raw


async def test_a_body_that_names_a_model_goes_to_its_upstream_under_its_name_there(
    tmp_path: Path, redis_url: str
) -> None:
    async with (
        fake_vllm(mirror) as first,
        fake_vllm(mirror) as second,
        gateway(two_upstreams(first.url, second.url), tmp_path, redis_url) as url,
    ):
        for body in ({"model": "scorer", "a": 1}, {"model": "assistant", "a": 1}, {"a": 1}):
            assert (await call(url, "POST", "/v1/score", json=body)).status_code == 200
    assert [r.body for r in second.requests] == [{"model": "scorer", "a": 1}]
    assert [r.body for r in first.requests] == [{"model": "fake", "a": 1}, {"a": 1}]


async def test_who_asks_is_told_to_nobody_and_the_upstreams_own_key_is_sent(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm(mirror) as vllm:
        text = with_tenants(config(vllm.url, api_key="upstream-key"), tenant("assistant"))
        async with gateway(text, tmp_path, redis_url) as url:
            answer = await call(url, "POST", "/tokenize", json={"prompt": "a"}, headers=IDENTITY)
    assert answer.status_code == 200
    headers = vllm.requests[0].headers
    assert headers.pop("authorization") == "Bearer upstream-key"
    assert not set(headers) & set(IDENTITY)
    assert KEY not in str(headers)


@pytest.mark.parametrize(
    ("key", "content", "status", "code"),
    [
        ("", b"{}", 401, "invalid_api_key"),
        ("wrong", b"{}", 401, "invalid_api_key"),
        (KEY, b'{"model": "scorer"}', 403, "model_not_allowed"),
        (KEY, b'{"model": "nobody"}', 404, "model_not_found"),
        (KEY, b'{"model": "scorer", "x": NaN}', 400, "invalid_json"),
    ],
)
async def test_who_may_not_is_told_so_and_no_upstream_is_asked(
    key: str, content: bytes, status: int, code: str, *, tmp_path: Path, redis_url: str
) -> None:
    async with fake_vllm(mirror) as first, fake_vllm(mirror) as second:
        text = with_tenants(two_upstreams(first.url, second.url), tenant("assistant"), tenant("scorer", key="two"))
        async with gateway(text, tmp_path, redis_url) as url:
            answer = await call(
                url, "POST", "/v1/score", content=content, headers={"authorization": f"Bearer {key}"} if key else {}
            )
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert first.requests == second.requests == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
async def test_a_body_that_only_the_server_might_read_does_not_reach_it_as_json(
    encoding: str, tmp_path: Path, redis_url: str
) -> None:
    async with fake_vllm(mirror) as vllm, gateway(config(vllm.url), tmp_path, redis_url) as url:
        raw = '{"model": "scorer"}'.encode(encoding)
        told = await call(url, "POST", "/tokenize", content=raw, headers={"content-type": "application/json"})
        answer = await call(url, "POST", "/tokenize", content=raw)
    assert (told.status_code, answer.status_code) == (400, 200)
    assert [r.headers["content-type"] for r in vllm.requests] == ["application/octet-stream"]


async def test_a_tenant_that_names_no_model_asks_an_upstream_of_its_own_models(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm(mirror) as first, fake_vllm(mirror) as second:
        text = with_tenants(two_upstreams(first.url, second.url), tenant("assistant"), tenant("scorer", key="two"))
        async with gateway(text, tmp_path, redis_url) as url:
            answer = await call(url, "GET", "/version", headers={"authorization": "Bearer two"})
    assert answer.status_code == 200
    assert (len(first.requests), len(second.requests)) == (0, 1)


@pytest.mark.parametrize("path", ["/detokenize", "/tokenize/", "/tokenize/x", "/v1/scor", "/metrics2"])
async def test_an_unlisted_path_is_unknown(path: str, tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm(mirror) as vllm, gateway(config(vllm.url, ["/tokenize"]), tmp_path, redis_url) as url:
        reader = httpx.Request("POST", url)
        async with httpx.AsyncClient() as client:
            reader.url = httpx.URL(url, raw_path=path.encode())
            answer = await client.send(reader)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_path"
    assert vllm.requests == []


async def test_a_guarded_path_stays_guarded_beside_them(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm(mirror) as vllm, gateway(config(vllm.url), tmp_path, redis_url) as url:
        body = {"model": "assistant", "messages": [{"role": "user", "content": "Project Titan"}]}
        answer = await call(url, "POST", "/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["finish_reason"] == "content_filter"
    assert vllm.requests == []


async def test_the_upstreams_error_comes_back_as_it_is(tmp_path: Path, redis_url: str) -> None:
    script = Reply([b'{"detail": "no"}'], 422, {"content-type": "application/json", "retry-after": "3", "server": "x"})
    async with fake_vllm(script) as vllm, gateway(config(vllm.url), tmp_path, redis_url) as url:
        answer = await call(url, "POST", "/tokenize", json={})
    assert (answer.status_code, answer.content, answer.headers["retry-after"]) == (422, b'{"detail": "no"}', "3")
    assert "x" not in answer.headers.get_list("server")


async def test_a_redirect_is_not_followed_nor_told(tmp_path: Path, redis_url: str) -> None:
    script = Reply([b""], 307, {"location": "http://internal:8000/tokenize/"})
    async with fake_vllm(script) as vllm, gateway(config(vllm.url), tmp_path, redis_url) as url:
        answer = await call(url, "POST", "/tokenize", json={})
    assert answer.status_code == 502
    assert "internal" not in answer.text + str(answer.headers)


async def test_a_body_passes_piece_by_piece(tmp_path: Path, redis_url: str) -> None:
    script = Reply([b"first", FOREVER], headers={"content-type": "audio/mpeg"})
    async with fake_vllm(script) as vllm, gateway(config(vllm.url), tmp_path, redis_url) as url:
        async with (
            httpx.AsyncClient(timeout=10) as client,
            client.stream("POST", f"{url}/v1/audio/speech", json={"input": "a"}) as answer,
        ):
            assert answer.headers["content-type"] == "audio/mpeg"
            assert await anext(answer.aiter_raw()) == b"first"

        async def left() -> bool:
            return bool(vllm.closed)

        await until(left)  # the client has gone, and with it the call to the model


async def test_a_body_that_breaks_off_is_cut_for_the_client_too(tmp_path: Path, redis_url: str) -> None:
    async with (
        raw_server([raw_head("content-type: audio/mpeg", "content-length: 100"), b"first", 0.05, b"\0CLOSE"]) as raw,
        gateway(config(raw.url), tmp_path, redis_url) as url,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await call(url, "POST", "/v1/audio/speech", json={})


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_other_methods_are_refused(method: str, tmp_path: Path, redis_url: str) -> None:
    answer, vllm = await one(tmp_path, redis_url, method)
    assert answer.status_code == 405
    assert vllm.requests == []


async def test_an_upstream_that_is_down_is_an_error_with_openais_body(tmp_path: Path, redis_url: str) -> None:
    async with gateway(config("http://127.0.0.1:9"), tmp_path, redis_url) as url:
        answer = await call(url, "POST", "/tokenize", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "upstream_unavailable")


async def test_the_log_says_at_start_that_nothing_judges_them(
    tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "wardgate"):
        async with gateway(config("http://127.0.0.1:9", ["/tokenize"]), tmp_path, redis_url):
            pass
    assert "no guard judges the passthrough paths: /tokenize" in caplog.messages


async def test_they_are_counted_under_their_path(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm(mirror) as vllm, gateway(config(vllm.url), tmp_path, redis_url) as url:
        await call(url, "POST", "/tokenize", json={"model": "assistant"})
        text = (await call(url, "GET", "/metrics")).text
    assert 'wardgate_requests_total{model_name="assistant",route="/tokenize",status="200"} 1.0' in text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("tokenize", "is not a plain path"),
        ("/tokenize/", "is not a plain path"),
        ("/v1/../admin", "is not a plain path"),
        ("/tokenize?a=b", "is not a plain path"),
        ("/v1/chat%2Fcompletions", "is not a plain path"),
        ("/v1/chat/completions", "serves"),
        ("/v1/embeddings", "serves"),
        ("/metrics", "serves"),
        ("/console/x", "serves"),
    ],
)
def test_a_path_that_cannot_pass_through_is_an_error_of_the_config(path: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        load(config("http://127.0.0.1:9", ["/tokenize", path]), KINDS, {}, tmp_path)
    assert len(caught.value.problems) == 1
    assert said in caught.value.problems[0].message
