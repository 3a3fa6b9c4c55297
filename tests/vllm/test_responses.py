"""`/v1/responses` with the official SDK, through the gateway and a real vLLM."""

from __future__ import annotations

import json

import pytest
from openai import NotFoundError, OpenAI
from openai.types.responses import FunctionToolParam, Response

from tests.vllm.asking import ARGUMENTS, MODEL, OWNER, saying

pytestmark = pytest.mark.vllm

QUESTION = "What does a gateway do?"
OF_ONE_REQUEST = ("id", "created_at", "model", "wardgate")
"""Fields of an answer that no two requests have in common, or that the gateway adds."""
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "The forecast",
    "parameters": ARGUMENTS,
    "strict": True,
}


def body(answer: Response) -> dict[str, object]:
    told = {k: v for k, v in answer.to_dict().items() if k not in OF_ONE_REQUEST}
    output = [{k: v for k, v in item.to_dict().items() if k != "id"} for item in answer.output]
    return {**told, "output": output}


def test_an_answer_is_what_vllm_said_with_every_field_of_it(client: OpenAI, direct: OpenAI) -> None:
    said, expected = (
        sdk.responses.create(model=model, input=QUESTION, max_output_tokens=30, extra_body={"seed": 1})
        for sdk, model in ((client, "plain"), (direct, MODEL))
    )
    assert said.output_text
    assert body(said) == body(expected)


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_a_stream_says_the_words_of_the_whole_answer(client: OpenAI, model: str) -> None:
    text = "The keeper lights the lamp at 9, and nothing in this has to be hidden."
    whole = client.responses.create(model=model, input=QUESTION, max_output_tokens=60, extra_body=saying(text))
    assert whole.output_text == text
    said, numbers = "", []
    with client.responses.create(
        model=model, input=QUESTION, max_output_tokens=60, extra_body=saying(text), stream=True
    ) as stream:
        for event in stream:
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                said += event.delta
    assert said == text
    assert numbers == list(range(len(numbers)))
    assert event.type == "response.completed"
    assert event.response.output_text == text
    assert event.response.usage is not None


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_the_stream_helper_gathers_the_answer(client: OpenAI, model: str) -> None:
    text = "The lamp is lit."
    with client.responses.stream(model=model, input=QUESTION, max_output_tokens=60, extra_body=saying(text)) as stream:
        assert stream.get_final_response().output_text == text


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_logprobs_spell_the_answer(client: OpenAI, model: str) -> None:
    text = "The lamp is lit."
    answer = client.responses.create(
        model=model,
        input=QUESTION,
        max_output_tokens=60,
        include=["message.output_text.logprobs"],
        top_logprobs=3,
        extra_body=saying(text),
    )
    (item,) = answer.output
    assert item.type == "message"
    part = item.content[0]
    assert part.type == "output_text"
    assert "".join(t.token for t in part.logprobs or [] if not t.token.startswith("<|")) == text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_owners_prompt_is_not_told(client: OpenAI, stream: bool) -> None:
    if not stream:
        answer = client.responses.create(model="owned", input=QUESTION, instructions="Be brief.", max_output_tokens=5)
        assert answer.instructions == "Be brief."
        assert OWNER not in answer.to_json()
        return
    with client.responses.create(
        model="owned", input=QUESTION, instructions="Be brief.", max_output_tokens=5, stream=True
    ) as events:
        told = [event.to_json() for event in events]
    assert not any(OWNER in event for event in told)


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_a_tool_is_called(client: OpenAI, model: str) -> None:
    answer = client.responses.create(
        model=model, input=QUESTION, tools=[WEATHER], tool_choice="required", max_output_tokens=900
    )
    check_calls(answer)


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_a_tool_is_called_in_a_stream(client: OpenAI, model: str) -> None:
    # The SDK's own accumulator, which is strict about the shape and order of the events.
    with client.responses.stream(
        model=model, input=QUESTION, tools=[WEATHER], tool_choice="required", max_output_tokens=900
    ) as stream:
        check_calls(stream.get_final_response())


def check_calls(answer: Response) -> None:
    calls = [item for item in answer.output if item.type == "function_call"]
    assert calls
    for call in calls:
        assert call.name == "weather"
        arguments = json.loads(call.arguments)
        assert arguments["city"] in ("Lisbon", "Oslo")
        assert arguments["days"] in range(1, 6)


def test_the_result_of_a_tool_goes_back_to_the_model(client: OpenAI) -> None:
    answer = client.responses.create(
        model="guarded",
        input=[
            {"role": "user", "content": QUESTION},
            {"type": "function_call", "call_id": "call-1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call-1", "output": "Rain, 9 degrees"},
        ],
        tools=[WEATHER],
        max_output_tokens=5,
    )
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0


def test_the_id_of_an_answer_is_the_gateways(client: OpenAI) -> None:
    """vLLM takes the id that it is asked to give: by it a tenant reaches its own answers alone."""
    first = client.responses.create(model="guarded", input=QUESTION, max_output_tokens=3)
    assert first.id.startswith("resp_")
    with pytest.raises(NotFoundError):
        client.responses.create(
            model="guarded", input=QUESTION, max_output_tokens=3, previous_response_id="resp_of_nobody"
        )
