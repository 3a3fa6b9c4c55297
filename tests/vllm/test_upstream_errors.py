"""Errors keep the class that the SDK gives them, and vLLM's own keep vLLM's status and body."""

from __future__ import annotations

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.vllm.asking import MODEL, QUESTION, WEATHER

pytestmark = pytest.mark.vllm

ENDLESS: list[ChatCompletionMessageParam] = [{"role": "user", "content": "lamp " * 150_000}]

WRONG: dict[str, dict[str, object]] = {
    "too many tokens asked for": {"max_tokens": 1_000_000},
    "prompt too long": {"messages": ENDLESS},
    "temperature below zero": {"temperature": -1},
    "top_p above one": {"top_p": 5},
    "too many logprobs": {"logprobs": True, "top_logprobs": 500},
    "prompt_logprobs in a stream": {"stream": True, "prompt_logprobs": 1},
    "two forms at once": {"structured_outputs": {"choice": ["a"], "regex": "b"}},
    "a tool that is not there": {
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "tides"}},
    },
}


def refusal(client: OpenAI, model: str, wrong: dict[str, object]) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=model, messages=QUESTION, extra_body=wrong)
    return caught.value


@pytest.mark.parametrize("model", ["plain", "guarded"])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
def test_an_error_of_vllm_comes_as_it_is(client: OpenAI, direct: OpenAI, model: str, wrong: dict[str, object]) -> None:
    error = refusal(client, model, wrong)
    expected = refusal(direct, MODEL, wrong)
    assert isinstance(error, openai.BadRequestError)
    assert error.status_code == expected.status_code
    assert error.response.json() == expected.response.json()
    assert error.response.headers["x-request-id"]


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-unknown", messages=QUESTION)
    assert caught.value.code == "model_not_found"


def test_the_upstreams_own_name_is_no_model_of_the_gateway(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert caught.value.code == "model_not_found"


def test_a_request_without_messages_is_a_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="plain", messages=[])
    assert caught.value.param == "messages"
