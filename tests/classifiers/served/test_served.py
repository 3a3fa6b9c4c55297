"""The way to a guard and back, against a real server on a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from classifiers.classifier import Classifier, ClassifierError, Sample
from classifiers.served.families import FAMILIES
from classifiers.served.qwen_guard import QwenGuard
from classifiers.served.served import Limits, Served, windows
from tests.classifiers.served.guards import CLASSES, EVERY, PROMPT, RESPONSE, chat, guard
from tests.fakes import FOREVER, FakeVLLM, Reply, Request, Script, fake_vllm, raw_head, raw_server

LLAMA = FAMILIES["llama_guard"]
SAFE = Reply([chat("safe")])
QUICK = Limits(timeout=0.2)


@asynccontextmanager
async def serving(
    script: Script, name: str = "llama_guard", limits: Limits | None = None
) -> AsyncIterator[tuple[Served, FakeVLLM]]:
    async with fake_vllm(script) as vllm:
        served = Served.at(vllm.url, "meta/guard", EVERY[name], limits=limits)
        yield served, vllm
        await served.close()


async def reason(served: Served, *samples: Sample) -> str:
    with pytest.raises(ClassifierError) as raised:
        await served.classify(samples or [PROMPT])
    return raised.value.reason


@pytest.mark.parametrize("name", EVERY)
async def test_every_family_scores_over_the_wire(name: str) -> None:
    async with serving(guard(name), name) as (served, vllm):
        (scores,) = await served.classify([PROMPT])
        assert max(scores.values()) == pytest.approx(0.9)
        assert scores.keys() <= served.categories
        assert {r.path for r in vllm.requests} == {ask.path for ask in EVERY[name].asks(PROMPT)}
        assert all(r.body["model"] == "meta/guard" for r in vllm.requests)


async def test_it_is_a_classifier_like_any_other() -> None:
    async with serving(SAFE) as (served, _):
        classifier: Classifier = served
        assert (classifier.name, dict(classifier.thresholds)) == ("llama_guard", {})
        assert "hate" in classifier.categories


def by_text(request: Request) -> Reply:
    """Bad is what says so; the first one takes longest."""
    said = request.body["messages"][-1]["content"]
    return Reply([chat("unsafe\nS10" if "bad" in said else "safe")], before=0.1 if said == "first" else 0.0)


async def test_scores_come_in_the_order_of_the_samples() -> None:
    async with serving(by_text) as (served, _):
        found = await served.classify([Sample("first"), Sample("bad"), Sample("last")])
    assert [scores["harm"] for scores in found] == pytest.approx([0.1, 0.9, 0.1])


async def test_the_same_sample_is_asked_about_once() -> None:
    async with serving(by_text) as (served, vllm):
        found = await served.classify([Sample("bad"), PROMPT, Sample("bad")])
        assert [scores["harm"] for scores in found] == pytest.approx([0.9, 0.1, 0.9])
        assert len(vllm.requests) == 2
        assert await served.classify([]) == []


async def test_prompts_and_responses_may_come_together() -> None:
    async with serving(guard("wildguard"), "wildguard") as (served, _):
        of_prompt, of_response = await served.classify([PROMPT, RESPONSE])
    assert of_prompt == pytest.approx({"harm": 0.9})
    assert of_response["refusal"] == pytest.approx(0.1)


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_the_url_may_end_in_v1_or_not(suffix: str) -> None:
    async with fake_vllm(Reply([b'{"data": [{"label": null, "probs": [1.0, 0.0, 0.0]}]}'])) as vllm:
        served = Served.at(vllm.url + suffix, "m", CLASSES, api_key="key")
        await served.classify([PROMPT])
        await served.close()
    assert vllm.requests[0].path == "/classify"
    assert vllm.requests[0].headers["authorization"] == "Bearer key"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 307])
async def test_an_answer_that_is_none_is_unavailable(status: int) -> None:
    async with serving(Reply([b'{"error": "the text was SECRET"}'], status=status)) as (served, _):
        with pytest.raises(ClassifierError, match=str(status)) as raised:
            await served.classify([PROMPT])
    assert raised.value.reason == "unavailable"
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("body", [b"", b"{", b"safe", b"null", b"{}", b'{"choices": []}', b"\xff\xfe", b"[" * 5000])
async def test_a_body_that_is_no_answer_is_a_parse_error(body: bytes) -> None:
    async with serving(Reply([body])) as (served, _):
        assert await reason(served) == "parse"


async def test_one_bad_answer_fails_the_batch_rather_than_calling_the_text_safe() -> None:
    async with serving([SAFE, Reply([chat("Not safe")])], limits=Limits(concurrent=1)) as (served, _):
        assert await reason(served, Sample("one"), Sample("two")) == "parse"
        assert await reason(served, Sample("three")) == "parse"


@pytest.mark.parametrize(
    "reply", [Reply([], before=FOREVER), Reply([b"{", FOREVER]), Reply([b" ", 0.1] * 100)], ids=["head", "body", "drip"]
)
async def test_a_guard_that_takes_too_long_is_a_timeout(reply: Reply) -> None:
    async with serving(reply, limits=QUICK) as (served, vllm):
        began = time.monotonic()
        assert await reason(served) == "timeout"
        assert time.monotonic() - began < 2
        await asyncio.wait_for(vllm.left.wait(), 2)


async def test_a_guard_that_is_not_there_is_unavailable() -> None:
    async with fake_vllm(SAFE) as vllm:
        url = vllm.url
    served = Served.at(url, "m", LLAMA)
    assert await reason(served) == "unavailable"
    await served.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [b"\0CLOSE"],
        [b"\0ABORT"],
        [b"nonsense\r\n\r\n", b"\0CLOSE"],
        [raw_head("content-length: 500") + b"{", b"\0CLOSE"],
        [raw_head("content-length: 4", "content-encoding: gzip") + b"safe"],
    ],
    ids=["closed", "reset", "no HTTP", "half a body", "no gzip"],
)
async def test_a_broken_connection_is_unavailable(pieces: list[bytes]) -> None:
    async with raw_server(pieces) as raw:
        served = Served.at(raw.url, "m", LLAMA)
        assert await reason(served) == "unavailable"
        await served.close()


async def test_only_so_many_requests_run_at_once() -> None:
    async with serving(Reply([chat("safe")], before=0.05), limits=Limits(concurrent=3)) as (served, vllm):
        most = 0
        classifying = asyncio.create_task(served.classify([Sample(str(n)) for n in range(12)]))
        while not classifying.done():
            most = max(most, vllm.running)
            await asyncio.sleep(0.005)
        assert len(await classifying) == 12
        assert most == 3


async def test_what_would_wait_too_long_is_refused_at_once() -> None:
    async with serving(Reply([], before=FOREVER), limits=Limits(1, waiting=2, timeout=0.3)) as (served, _):
        first = asyncio.create_task(reason(served, Sample("a"), Sample("b")))
        await asyncio.sleep(0.05)
        assert await reason(served) == "queue_full"
        assert await first == "timeout"
        assert await reason(served) == "timeout", "there is room again"


async def test_a_caller_that_gives_up_leaves_no_request_behind() -> None:
    async with serving(Reply([], before=FOREVER)) as (served, vllm):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await served.classify([PROMPT])
        await asyncio.wait_for(vllm.left.wait(), 2)
        vllm.script = SAFE
        assert len(await served.classify([PROMPT])) == 1


async def test_a_long_text_is_judged_whole_and_its_worst_part_counts() -> None:
    text = "good " * 3000 + "bad" + " good" * 3000
    async with serving(by_text) as (served, vllm):
        (scores,) = await served.classify([Sample(text)])
        assert scores["hate"] == pytest.approx(0.9)
        assert len(vllm.requests) == 3


@pytest.mark.parametrize("length", [0, 1, 79, 80, 81, 150, 151, 1000])
def test_windows_cover_a_text_and_overlap(length: int) -> None:
    text = "".join(chr(0x4E00 + n) for n in range(length))
    cut = [w.text for w in windows(Sample(text, "response", "why"), 80)]
    assert cut[0] + "".join(w[10:] for w in cut[1:]) == text
    assert all(len(w) <= 80 for w in cut)
    assert all(len(w) > 10 for w in cut[1:])
    assert all(w.prompt == "why" for w in windows(Sample(text, "response", "why"), 80))


async def test_the_version_tells_one_guard_from_another() -> None:
    async with fake_vllm(SAFE) as vllm:
        guards = [
            Served.at(vllm.url, model, family)
            for model, family in [("a", QwenGuard()), ("b", QwenGuard()), ("a", QwenGuard(1.0)), ("a", LLAMA)]
        ]
        again = Served.at(vllm.url, "a", QwenGuard())
        assert len({g.version for g in guards}) == 4
        assert again.version == guards[0].version
        for served in (*guards, again):
            await served.close()
