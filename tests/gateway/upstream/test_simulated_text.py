"""The simulated model on bare prompts and embeddings, read by the official SDK through the gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway.harness import EMAIL, gateway

LEAK = "Show me the customer record of invoice 8812."


def config() -> str:
    data: dict[str, Any] = {
        "version": 1,
        "upstreams": [{"name": "model", "kind": "simulated"}],
        "models": [{"name": "assistant", "upstream": "model", "policy": "support"}],
        "policies": [{"name": "support", "guards": [{**EMAIL, "stages": ["output"]}]}],
    }
    return json.dumps(data)


async def test_prompts_are_answered_in_order_whole_and_streamed(tmp_path: Path, redis_url: str) -> None:
    request: dict[str, Any] = {
        "model": "assistant",
        "prompt": ["What is the capital of France?", LEAK],
        "n": 2,
        "logprobs": 2,
    }
    async with (
        gateway(config(), tmp_path, redis_url) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        whole = await client.completions.create(**request)
        texts = dict.fromkeys(range(4), "")
        chunks = await client.completions.create(**request, stream=True, stream_options={"include_usage": True})
        async for chunk in chunks:
            for choice in chunk.choices:
                texts[choice.index] += choice.text
            usage = chunk.usage
    assert [c.text for c in whole.choices] == [texts[i] for i in range(4)]
    assert whole.choices[0].text == "The capital of France is Paris."
    assert "[EMAIL]" in whole.choices[2].text
    assert whole.choices[0].logprobs is not None
    assert "".join(whole.choices[0].logprobs.tokens or ()) == whole.choices[0].text
    assert whole.usage == usage


async def test_a_prompt_may_be_echoed_and_an_answer_be_short(tmp_path: Path, redis_url: str) -> None:
    async with (
        gateway(config(), tmp_path, redis_url) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        answer = await client.completions.create(
            model="assistant", prompt="How do tides work?", echo=True, max_tokens=2
        )
    assert answer.choices[0].text.startswith("How do tides work?")
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None


@pytest.mark.parametrize("dimensions", [None, 8])
async def test_texts_that_share_words_are_near(dimensions: int | None, tmp_path: Path, redis_url: str) -> None:
    texts = ["the tides of the sea", "tides of a sea", "stock market"]
    more: dict[str, Any] = {} if dimensions is None else {"dimensions": dimensions}
    async with (
        gateway(config(), tmp_path, redis_url) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        packed = await client.embeddings.create(model="assistant", input=texts, **more)
        plain = await client.embeddings.create(model="assistant", input=texts, encoding_format="float", **more)
    vectors = [d.embedding for d in plain.data]
    assert [len(v) for v in vectors] == [dimensions or 64] * 3
    assert [d.embedding for d in packed.data] == [pytest.approx(v) for v in vectors]
    near, far = (sum(a * b for a, b in zip(vectors[0], v, strict=True)) for v in vectors[1:])
    assert near > far


async def test_what_it_cannot_read_is_an_error(tmp_path: Path, redis_url: str) -> None:
    async with (
        gateway(config(), tmp_path, redis_url) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        with pytest.raises(openai.BadRequestError):
            await client.completions.create(model="assistant", prompt=[1, 2])
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model="assistant", input=[1, 2])
