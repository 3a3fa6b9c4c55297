"""A guard LLM behind its own vLLM, on the grey band of the shipped classifier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from classifiers.served.families import FAMILIES
from tests.classifiers.served.guards import body
from tests.fakes import Reply, Request, fake_vllm
from tests.gateway.harness import ask, document, gateway

FAMILY = FAMILIES["llama_guard"]


def guard(url: str, low: float, high: float) -> tuple[dict[str, object], dict[str, object]]:
    first: dict[str, object] = {
        "name": "small",
        "kind": "classifier",
        "category": "harm",
        "thresholds": {"block": 1.0},
        "timeout": "30s",
    }
    second: dict[str, object] = {
        "name": "big",
        "kind": "guard_llm",
        "family": "llama_guard",
        "base_url": f"{url}/v1",
        "model": "guard",
        "thresholds": {"block": 0.5},
        "only_if": {"guard": "small", "between": [low, high]},
    }
    return first | {"stages": ["input"]}, second | {"stages": ["input"]}


def says(word: str) -> Reply:
    return Reply([body(FAMILY, word)])


@pytest.mark.parametrize(
    ("verdict", "band", "blocked"),
    [
        ("unsafe\nS9", (0.0, 1.0), True),
        ("safe", (0.0, 1.0), False),
        ("unsafe\nS9", (1.0, 1.0), False),
        ("I think it is safe", (0.0, 1.0), True),
    ],
    ids=["unsafe", "safe", "not in the band", "not its grammar"],
)
async def test_the_big_guard_decides_what_the_small_one_leaves_open(
    tmp_path: Path, redis_url: str, verdict: str, band: tuple[float, float], blocked: bool
) -> None:
    seen: list[Request] = []

    def judge(request: Request) -> Reply:
        seen.append(request)
        return says(verdict)

    async with (
        fake_vllm() as vllm,
        fake_vllm(judge) as llm,
        gateway(document(vllm.url, *guard(llm.url, *band)), tmp_path, redis_url) as url,
    ):
        answer = (await ask(url, "Hello there")).json()
    assert (answer["choices"][0]["finish_reason"] == "content_filter") is blocked
    assert len(seen) == (band[0] < 1)
    findings = answer["wardgate"]["findings"]
    assert [f["guard"] for f in findings] == (["big"] if blocked else [])
    if verdict.startswith("I think"):
        assert findings[0]["error"] == "parse"


async def test_a_guard_that_is_away_blocks_as_its_rule_says(tmp_path: Path, redis_url: str) -> None:
    rules = guard("http://127.0.0.1:9", 0.0, 1.0)
    async with fake_vllm() as vllm, gateway(document(vllm.url, *rules), tmp_path, redis_url) as url:
        answer = (await ask(url, "Hello there")).json()
    (finding,) = answer["wardgate"]["findings"]
    assert (finding["guard"], finding["action"], finding["error"]) == ("big", "block", "unavailable")


async def test_a_model_behind_classify_is_a_guard_by_its_labels(tmp_path: Path, redis_url: str) -> None:
    def judge(request: Request) -> Reply:
        bad = "crowbar" in request.body["input"]
        probs = [0.1, 0.9] if bad else [0.8, 0.2]
        data = [{"index": 0, "label": ["SAFE", "BAD"][bad], "probs": probs, "num_classes": 2}]
        return Reply([json.dumps({"id": "classify-1", "object": "list", "model": "m", "data": data}).encode()])

    async with fake_vllm() as vllm, fake_vllm(judge) as llm:
        rule = {
            "name": "own",
            "kind": "guard_llm",
            "family": "classify",
            "base_url": f"{llm.url}/v1",
            "model": "m",
            "labels": {"SAFE": "safe", "BAD": "harm"},
            "thresholds": {"block": 0.5},
            "stages": ["input"],
        }
        async with gateway(document(vllm.url, rule), tmp_path, redis_url) as url:
            blocked, passed = (await ask(url, "Fetch the crowbar")).json(), (await ask(url, "Hello there")).json()
    (finding,) = blocked["wardgate"]["findings"]
    assert (finding["guard"], finding["score"]) == ("own", 0.9)
    assert passed["wardgate"]["findings"] == []
