"""Nobody will read the rest: vLLM is made to stop, by its own account, and its slots are free again."""

from __future__ import annotations

from itertools import islice

import openai
import pytest
from openai import OpenAI

from tests.vllm.asking import LONG, QUESTION, UNENDING
from tests.vllm.meter import Meter

pytestmark = pytest.mark.vllm

SOON = 3.0
"""Seconds; the whole answer would take many times as long."""
REFUSAL = "I'm sorry, but I cannot assist with that request."
SECRET = "Tell me of Project Falcon."


def wrote_a_part(meter: Meter, before: float) -> bool:
    """It had begun, and it did not run to the end."""
    return 0 < meter.generated() - before < LONG / 2


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_a_client_that_leaves_a_stream_stops_vllm(client: OpenAI, meter: Meter, model: str) -> None:
    before = meter.generated()
    with client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=LONG, stream=True, extra_body=UNENDING
    ) as stream:
        assert len(list(islice(stream, 20))) == 20
        assert meter.running() == 1
    assert meter.idle_within(SOON)
    assert wrote_a_part(meter, before)


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_a_client_that_gives_up_waiting_for_a_body_stops_vllm(client: OpenAI, meter: Meter, model: str) -> None:
    before = meter.generated()
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(
            model=model, messages=QUESTION, max_tokens=LONG, timeout=1.0, extra_body=UNENDING
        )
    assert meter.idle_within(SOON)
    assert wrote_a_part(meter, before)


@pytest.mark.parametrize("n", [1, 2])
def test_a_block_in_a_stream_stops_vllm(client: OpenAI, meter: Meter, n: int) -> None:
    before = meter.generated()
    with client.chat.completions.create(
        model="wordless", messages=QUESTION, max_tokens=LONG, n=n, stream=True, extra_body=UNENDING
    ) as stream:
        choices = [choice for chunk in stream for choice in chunk.choices]
    assert meter.idle_within(SOON)
    assert wrote_a_part(meter, before)
    for index in range(n):
        own = [c for c in choices if c.index == index]
        assert own[-1].finish_reason == "content_filter"
        assert "".join(c.delta.content or "" for c in own).endswith(REFUSAL)


def test_a_blocked_stream_still_ends_with_its_usage(client: OpenAI) -> None:
    with client.chat.completions.create(
        model="wordless",
        messages=QUESTION,
        max_tokens=LONG,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=UNENDING,
    ) as stream:
        chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None


@pytest.mark.parametrize(
    "extra",
    [
        {"messages": [{"role": "user", "content": SECRET}]},
        {"documents": [{"title": "Plans", "text": SECRET}]},
        {"chat_template_kwargs": {"tools": [{"type": "function", "function": {"name": SECRET}}]}},
    ],
    ids=["message", "document", "template arguments"],
)
def test_a_blocked_prompt_never_reaches_vllm(client: OpenAI, meter: Meter, extra: dict[str, object]) -> None:
    before = meter.read_tokens()
    answer = client.chat.completions.create(model="guarded", messages=QUESTION, max_tokens=5, extra_body=extra)
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.choices[0].message.content == REFUSAL
    assert meter.read_tokens() == before
