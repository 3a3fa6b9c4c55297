"""Images, audio and files in requests, through the real gateway."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from tests.fakes import FakeVLLM, fake_vllm
from tests.gateway.harness import CHAT, CODENAME, document, gateway, request

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 24
REFUSAL = "Not this."


def data_url(data: bytes = PNG, declared: str = "image/png") -> str:
    return f"data:{declared};base64,{base64.b64encode(data).decode()}"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


async def sent(
    parts: list[dict[str, Any]], tmp_path: Path, redis_url: str, media: dict[str, object] | None = None, **more: object
) -> tuple[httpx.Response, FakeVLLM]:
    policy = {"media": media} if media is not None else {}
    async with (
        fake_vllm() as vllm,
        gateway(document(vllm.url, CODENAME, refusal=REFUSAL, **policy), tmp_path, redis_url) as url,
        httpx.AsyncClient(timeout=20) as client,
    ):
        return await client.post(url + CHAT, json=request(parts, **more)), vllm


async def test_an_image_passes_untouched_and_is_a_finding(tmp_path: Path, redis_url: str) -> None:
    parts = [text("What is this?"), image(data_url())]
    answer, vllm = await sent(parts, tmp_path, redis_url)
    assert answer.status_code == 200
    assert vllm.requests[0].body["messages"][0]["content"] == parts
    assert answer.headers["x-wardgate-action"] == "flag"
    assert answer.json()["wardgate"]["findings"] == [
        {
            "guard": "media",
            "category": "format",
            "stage": "input",
            "action": "flag",
            "score": 1.0,
            "threshold": None,
            "field": "messages[0].content[1].image_url.url",
            "entity": "unjudged",
        }
    ]


async def test_what_cannot_be_judged_may_be_allowed(tmp_path: Path, redis_url: str) -> None:
    answer, _ = await sent([image(data_url())], tmp_path, redis_url, {"unjudged": "allow"})
    assert answer.json()["wardgate"]["action"] == "allow"
    assert answer.json()["wardgate"]["findings"] == []


@pytest.mark.parametrize(
    "part", [image(data_url()), {"type": "hologram", "data": "x"}, {"type": "file", "file": {"file_id": "f"}}]
)
async def test_what_cannot_be_judged_may_be_blocked(part: dict[str, Any], tmp_path: Path, redis_url: str) -> None:
    answer, vllm = await sent([text("See"), part], tmp_path, redis_url, {"unjudged": "block"})
    assert answer.json()["choices"][0]["message"]["content"] == REFUSAL
    assert answer.json()["choices"][0]["finish_reason"] == "content_filter"
    assert vllm.requests == []


async def test_text_beside_an_image_is_judged(tmp_path: Path, redis_url: str) -> None:
    answer, vllm = await sent([image(data_url()), text("It is Project Titan.")], tmp_path, redis_url)
    assert answer.json()["wardgate"]["action"] == "block"
    assert vllm.requests == []


async def test_the_name_of_a_file_is_judged(tmp_path: Path, redis_url: str) -> None:
    file = {"file_data": data_url(b"%PDF-1.7", "application/pdf"), "filename": "Project Titan.pdf"}
    answer, vllm = await sent([{"type": "file", "file": file}], tmp_path, redis_url)
    assert answer.json()["wardgate"]["action"] == "block"
    assert vllm.requests == []


@pytest.mark.parametrize(
    ("part", "param", "said"),
    [
        (image("https://images.example.org/a.png"), "image_url.url", "a host that this gateway allows"),
        (image("file:///etc/passwd"), "image_url.url", "a host that this gateway allows"),
        (image(data_url(b"MZ\x90\0")), "image_url.url", "not of the type"),
        (image(data_url(declared="image/svg+xml")), "image_url.url", "not allowed; send one of image/png"),
        (image(data_url()[:-1]), "image_url.url", "not valid base64"),
        (image(data_url() + "\n"), "image_url.url", "not valid base64"),
        (image("data:image/png,abc"), "image_url.url", "no data URL"),
        (image(data_url(PNG + b"\0" * 2000)), "image_url.url", "too large: 1024 bytes"),
        ({"type": "image_url", "image_url": 5}, "image_url", "must be a string"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "exe"}}, "input_audio.data", "not allowed"),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            "input_audio.data",
            "not of the type",
        ),
        ({"type": "file", "file": {"file_data": data_url(b"PK\x03\x04", "application/pdf")}}, "file.file_data", "type"),
    ],
)
async def test_what_the_policy_does_not_let_through_is_refused(
    part: dict[str, Any], param: str, said: str, tmp_path: Path, redis_url: str
) -> None:
    answer, vllm = await sent([text("See"), part], tmp_path, redis_url, {"image": {"max_bytes": 1024}})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("media_refused", f"messages[0].content[1].{param}")
    assert said in error["message"]
    assert answer.json()["wardgate"]["findings"][0]["entity"] == "media_refused"
    assert vllm.requests == []


async def test_urls_of_listed_hosts_are_passed_on_and_never_fetched(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm() as elsewhere:
        host = elsewhere.url.removeprefix("http://")
        parts = [image(f"{elsewhere.url}/a.png"), image("https://images.example.org/b.png")]
        answer, vllm = await sent(parts, tmp_path, redis_url, {"hosts": [host, "*.example.org"]})
        assert answer.status_code == 200
        assert vllm.requests[0].body["messages"][0]["content"] == parts
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://169.254.169.254/", "http://2130706433/"]
)
async def test_a_star_does_not_cover_ones_own_network(url: str, tmp_path: Path, redis_url: str) -> None:
    answer, _ = await sent([image(url)], tmp_path, redis_url, {"hosts": ["*"]})
    assert answer.json()["error"]["code"] == "media_refused"
    assert url not in answer.text


async def test_one_image_too_many_is_refused(tmp_path: Path, redis_url: str) -> None:
    answer, _ = await sent([image(data_url())] * 3, tmp_path, redis_url, {"image": {"max_count": 2}})
    assert answer.json()["error"]["param"] == "messages[0].content[2].image_url.url"
    assert "2 are allowed" in answer.json()["error"]["message"]


async def test_a_large_image_is_decoded_and_passes(tmp_path: Path, redis_url: str) -> None:
    answer, vllm = await sent([image(data_url(PNG + b"\x01" * (6 << 20)))], tmp_path, redis_url)
    assert answer.status_code == 200
    assert len(vllm.requests[0].raw) > 8 << 20


async def test_a_model_without_a_policy_takes_what_it_gets(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm() as vllm:
        config = json.loads(document(vllm.url))
        del config["models"][0]["policy"], config["policies"]
        async with gateway(json.dumps(config), tmp_path, redis_url) as url, httpx.AsyncClient() as client:
            answer = await client.post(url + CHAT, json=request([image("https://images.example.org/a.png")]))
        assert answer.status_code == 200
        assert answer.json()["wardgate"]["findings"] == []


async def test_the_flag_log_keeps_no_image(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    parts = [text("What is this?"), image(data_url(PNG + bytes(range(256)) * 20))]
    answer, _ = await sent(parts, tmp_path, redis_url)
    kept = await FlagLog(redis).show(answer.headers["x-request-id"])
    assert kept is not None
    asked, shown = kept["request"]["messages"][0]["content"]
    assert asked == parts[0]
    assert shown["image_url"]["url"].startswith("data:image/png;base64,[")
    assert len(str(kept["request"])) < 1000


async def test_a_refused_medium_is_kept_with_its_outcome(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    answer, _ = await sent([image("http://169.254.169.254/latest/meta-data")], tmp_path, redis_url)
    kept = await FlagLog(redis).show(answer.headers["x-request-id"])
    assert kept is not None
    assert (kept["action"], kept["outcome"]) == ("block", "media_refused")


ANTHROPIC = {"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/a.png"}}
SURFACES: list[tuple[str, dict[str, object]]] = [
    ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": [ANTHROPIC]}]}),
    ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": [ANTHROPIC]}]}),
    (
        "/v1/responses",
        {
            "input": [
                {"role": "user", "content": [{"type": "input_image", "image_url": "http://169.254.169.254/a.png"}]}
            ]
        },
    ),
]


@pytest.mark.parametrize(("route", "body"), SURFACES, ids=[route for route, _ in SURFACES])
async def test_media_of_every_surface_are_held_against_the_policy(
    route: str, body: dict[str, object], tmp_path: Path, redis_url: str
) -> None:
    async with (
        fake_vllm() as vllm,
        gateway(document(vllm.url, CODENAME), tmp_path, redis_url) as url,
        httpx.AsyncClient() as client,
    ):
        answer = await client.post(url + route, json={"model": "assistant", **body})
    assert answer.status_code == 400
    assert "a host that this gateway allows" in answer.text
    assert "169.254" not in answer.text
    assert vllm.requests == []
