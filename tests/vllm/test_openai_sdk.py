"""What an application does with the official SDK, through the gateway and a real vLLM."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam, ChatCompletionNamedToolChoiceParam

from tests.vllm.asking import MODEL, QUESTION, THE_WEATHER, WEATHER, saying

pytestmark = pytest.mark.vllm

ToolChoice = Literal["auto", "required"] | ChatCompletionNamedToolChoiceParam
OF_ONE_REQUEST = ("id", "created", "model", "wardgate")
"""Fields of an answer that no two requests have in common, or that the gateway adds."""


def deltas(client: OpenAI, model: str, **extra: object) -> list[str]:
    """The pieces of a streamed answer that is the same whenever it is asked for."""
    with client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=60, seed=4, stream=True, extra_body=extra
    ) as stream:
        return [choice.delta.content or "" for chunk in stream for choice in chunk.choices]


def body(answer: ChatCompletion) -> dict[str, object]:
    return {k: v for k, v in answer.to_dict().items() if k not in OF_ONE_REQUEST}


def test_the_models_are_those_of_the_config(client: OpenAI) -> None:
    assert [m.id for m in client.models.list()] == ["plain", "owned", "guarded", "wordless", "reviewed"]


def test_an_answer_is_what_vllm_said_with_every_field_of_it(client: OpenAI, direct: OpenAI) -> None:
    said = client.chat.completions.create(model="plain", messages=QUESTION, max_tokens=30, seed=1)
    expected = direct.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=30, seed=1)
    assert said.choices[0].message.content
    assert body(said) == body(expected)


def test_an_answer_names_its_request_and_its_policy(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="guarded", messages=QUESTION, max_tokens=2, extra_headers={"x-request-id": "lighthouse-1"}
    )
    assert raw.headers["x-request-id"] == "lighthouse-1"
    assert raw.headers["x-wardgate-policy"].startswith("guarded@")
    assert raw.headers["x-wardgate-action"] == "allow"


def test_a_stream_without_guards_keeps_every_piece(client: OpenAI, direct: OpenAI) -> None:
    """vLLM joins pieces that its client was too slow for, so the cuts of two streams may differ."""
    pairs = ((deltas(client, "plain"), deltas(direct, MODEL)) for _ in range(20))
    assert any(ours == theirs for ours, theirs in pairs)


def test_a_guarded_stream_says_the_same_words(client: OpenAI, direct: OpenAI) -> None:
    text = "The keeper lights the lamp at 9, and nothing in this has to be hidden."
    assert "".join(deltas(client, "guarded", **saying(text))) == text
    assert "".join(deltas(client, "guarded")) == "".join(deltas(direct, MODEL))


def test_two_choices_come_in_one_body(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="guarded", messages=QUESTION, max_tokens=12, n=2, seed=2)
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.choices[0].message.content != answer.choices[1].message.content


def test_two_choices_come_in_one_stream(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="guarded", messages=QUESTION, max_tokens=12, n=2, seed=2)
    texts = {0: "", 1: ""}
    ends = {}
    with client.chat.completions.create(
        model="guarded", messages=QUESTION, max_tokens=12, n=2, seed=2, stream=True
    ) as stream:
        for choice in (choice for chunk in stream for choice in chunk.choices):
            texts[choice.index] += choice.delta.content or ""
            ends[choice.index] = choice.finish_reason
    assert texts == {c.index: c.message.content for c in whole.choices}
    assert ends == {c.index: c.finish_reason for c in whole.choices}


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_logprobs_spell_the_answer(client: OpenAI, model: str) -> None:
    text = "The lamp is lit."
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, logprobs=True, top_logprobs=3, max_tokens=60, extra_body=saying(text)
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    tokens = logprobs.content or []
    assert "".join(t.token for t in tokens if not t.token.startswith("<|")) == text
    assert all(len(t.top_logprobs) >= 3 for t in tokens)


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_streamed_logprobs_spell_the_answer(client: OpenAI, model: str) -> None:
    text = "The lamp is lit."
    spelt = ""
    with client.chat.completions.create(
        model=model,
        messages=QUESTION,
        logprobs=True,
        top_logprobs=3,
        max_tokens=60,
        stream=True,
        extra_body=saying(text),
    ) as stream:
        for choice in (choice for chunk in stream for choice in chunk.choices):
            tokens = (choice.logprobs and choice.logprobs.content) or []
            spelt += "".join(t.token for t in tokens if not t.token.startswith("<|"))
    assert spelt == text


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_usage_comes_with_a_body_and_at_the_end_of_a_stream(client: OpenAI, model: str) -> None:
    whole = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=10, seed=5)
    with client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=10, seed=5, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 10
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(c.usage is None for c in chunks[:-1])


@pytest.mark.parametrize("model", ["plain", "guarded"])
@pytest.mark.parametrize("choice", ["auto", "required", THE_WEATHER], ids=["auto", "required", "named"])
def test_a_tool_is_called(client: OpenAI, model: str, choice: ToolChoice) -> None:
    # A model of random weights calls no tool of its own accord.
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>'
    extra = saying(call) if choice == "auto" else {}
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, tools=[WEATHER], tool_choice=choice, max_tokens=900, seed=6, extra_body=extra
    )
    check_calls(answer)


@pytest.mark.parametrize("model", ["plain", "guarded"])
@pytest.mark.parametrize("choice", ["auto", "required", THE_WEATHER], ids=["auto", "required", "named"])
def test_a_tool_is_called_in_a_stream(client: OpenAI, model: str, choice: ToolChoice) -> None:
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>'
    extra = saying(call) if choice == "auto" else {}
    # The SDK's own accumulator, which is strict about the shape and order of the pieces.
    with client.chat.completions.stream(
        model=model, messages=QUESTION, tools=[WEATHER], tool_choice=choice, max_tokens=900, seed=6, extra_body=extra
    ) as stream:
        check_calls(stream.get_final_completion())


def check_calls(answer: ChatCompletion) -> None:
    calls = answer.choices[0].message.tool_calls
    assert calls
    for call in calls:
        assert call.type == "function"
        assert call.function.name == "weather"
        arguments = json.loads(call.function.arguments)
        assert arguments["city"] in ("Lisbon", "Oslo")
        assert arguments["days"] in range(1, 6)


def test_the_result_of_a_tool_goes_back_to_the_model(client: OpenAI) -> None:
    called: list[ChatCompletionMessageParam] = [
        *QUESTION,
        {
            "role": "assistant",
            "tool_calls": [{"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "call-1", "content": "Rain, 9 degrees"},
    ]
    answer = client.chat.completions.create(model="guarded", messages=called, tools=[WEATHER], max_tokens=5)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
