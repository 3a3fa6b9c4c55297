"""Guards behind a real vLLM: its likelihoods are where a family looks for them, and its errors are errors."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import httpx
import pytest

from classifiers.classifier import ClassifierError, Sample, Scores
from classifiers.served.classes import Classes
from classifiers.served.family import Ask, Family
from classifiers.served.granite import GraniteGuardian
from classifiers.served.llama_guard import LlamaGuard
from classifiers.served.nemotron import Nemotron
from classifiers.served.qwen_guard import QwenGuard
from classifiers.served.safeguard import Safeguard
from classifiers.served.served import Limits, Served
from classifiers.served.shield_gemma import ShieldGemma
from classifiers.served.wild_guard import WildGuard
from tests.vllm.asking import MODEL
from tests.vllm.server import Server

pytestmark = pytest.mark.vllm

PROMPT = Sample("How do I bake bread? <|im_end|>")
RESPONSE = Sample("Knead it well.", "response", "How do I bake bread?")


@dataclass(frozen=True)
class Forced:
    """Implements `Family`: another one, whose guard can say but these things."""

    family: Family
    choices: tuple[str, ...]
    name: str = "forced"

    @property
    def categories(self) -> frozenset[str]:
        return self.family.categories

    def asks(self, sample: Sample) -> Sequence[Ask]:
        return [Ask(ask.path, {**ask.body, **self._force(ask)}) for ask in self.family.asks(sample)]

    def scores(self, sample: Sample, answers: Sequence[bytes]) -> Scores:
        return self.family.scores(sample, answers)

    def _force(self, ask: Ask) -> Mapping[str, object]:
        # What it is forced to say is many tokens here, and one with a guard's own vocabulary.
        return {"structured_outputs": {"choice": list(self.choices)}, "max_tokens": 200}


@pytest.fixture
async def client(vllm_server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=vllm_server.url, timeout=60, trust_env=False) as client:
        yield client


async def classify(client: httpx.AsyncClient, family: Family, sample: Sample, model: str = MODEL) -> Scores:
    (scores,) = await Served(family, model, client, Limits(timeout=60)).classify([sample])
    return scores


ANSWERS = [
    (LlamaGuard(), PROMPT, "safe"),
    (LlamaGuard(), RESPONSE, "\n\nunsafe\nS1,S10"),
    (ShieldGemma(("hate",)), PROMPT, "No"),
    # The tiny model spells «no» as «n» and «o», where a guard's «n» would begin «n/a».
    (WildGuard(), PROMPT, "Harmful request: yes\nResponse refusal: n/a\nHarmful response: n/a"),
    (WildGuard(), RESPONSE, "Harmful request: no\nResponse refusal: yes\nHarmful response: yes"),
    (GraniteGuardian("3.1"), PROMPT, "Yes"),
    (GraniteGuardian("3.2"), RESPONSE, "No\n<confidence> High </confidence>"),
    (GraniteGuardian("3.3"), PROMPT, "<think> é😀 no </think>\n<score> yes </score>"),
    (GraniteGuardian("4.1"), RESPONSE, "<think>\n</think>\n<score> no </score>"),
    (QwenGuard(), PROMPT, "Safety: Controversial\nCategories: Unethical Acts, Jailbreak"),
    (QwenGuard(), RESPONSE, "Safety: Safe\nCategories: None\nRefusal: No"),
    (Nemotron(), PROMPT, '{"User Safety": "unsafe", "Safety Categories": "Violence, PII/Privacy"}'),
    (Nemotron("lines"), RESPONSE, "User Safety: safe\nResponse Safety: safe"),
    (Safeguard(), PROMPT, "1"),
]


@pytest.mark.parametrize(("family", "sample", "said"), ANSWERS)
async def test_every_family_reads_what_vllm_says(
    client: httpx.AsyncClient, family: Family, sample: Sample, said: str
) -> None:
    scores = await classify(client, Forced(family, (said,)), sample)
    assert scores
    assert scores.keys() <= family.categories
    assert all(0 <= chance <= 1 for chance in scores.values())


@pytest.mark.parametrize("said", ["Not safe", "unsafe\nS99", "safe unsafe", "safe and sound"])
async def test_what_is_no_answer_is_a_parse_error(client: httpx.AsyncClient, said: str) -> None:
    with pytest.raises(ClassifierError) as raised:
        await classify(client, Forced(LlamaGuard(), (said,)), PROMPT)
    assert raised.value.reason == "parse"


async def test_nonsense_is_a_parse_error(client: httpx.AsyncClient) -> None:
    with pytest.raises(ClassifierError) as raised:
        await classify(client, LlamaGuard(), PROMPT)
    assert raised.value.reason == "parse"


async def test_the_probability_is_that_of_vllms_likelihoods(client: httpx.AsyncClient) -> None:
    """Of two answers that are one token each, so that the likelihoods of both add up to one."""
    either = Forced(Safeguard(), ("0", "1"))
    found = await classify(client, either, PROMPT)
    (ask,) = either.asks(PROMPT)
    reply = await client.post(ask.path, json={"model": MODEL, **ask.body})
    first = reply.json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    chances = {other["token"]: math.exp(other["logprob"]) for other in first}
    assert 0 < found["harm"] < 1
    assert found["harm"] == pytest.approx(chances["1"] / (chances["0"] + chances["1"]))


@pytest.mark.parametrize(
    ("family", "model"),
    [(LlamaGuard(), "another"), (Classes((("SAFE", ""), ("BAD", "harm"))), MODEL)],
    ids=["unknown model", "not a classifier"],
)
async def test_what_vllm_refuses_is_unavailable(client: httpx.AsyncClient, family: Family, model: str) -> None:
    with pytest.raises(ClassifierError) as raised:
        await classify(client, family, PROMPT, model)
    assert raised.value.reason == "unavailable"
