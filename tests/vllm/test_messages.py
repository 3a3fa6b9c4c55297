"""What an application does with Anthropic's SDK, through the gateway and a real vLLM."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anthropic
import pytest
from anthropic import Anthropic
from anthropic.types import Message, MessageParam, OutputConfigParam, ToolParam

from tests.vllm.asking import ARGUMENTS, LONG, MODEL, OWNER
from tests.vllm.meter import Meter
from tests.vllm.server import Server

pytestmark = pytest.mark.vllm

QUESTION: list[MessageParam] = [{"role": "user", "content": "What does a gateway do?"}]
WEATHER: ToolParam = {"name": "weather", "description": "The forecast", "input_schema": ARGUMENTS, "strict": True}
OF_ONE_REQUEST = ("id", "model", "wardgate")
GREEDY: dict[str, object] = {"temperature": 0}
ADDRESS = "ada@example.com"


@pytest.fixture(scope="module")
def claude(gateway: Server) -> Iterator[Anthropic]:
    """The SDK on the gateway."""
    with Anthropic(base_url=gateway.url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def bare(vllm_server: Server) -> Iterator[Anthropic]:
    """The SDK on vLLM itself."""
    with Anthropic(base_url=vllm_server.url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def saying(text: str) -> OutputConfigParam:
    """Makes the model say `{"say": text}`."""
    schema = {
        "type": "object",
        "properties": {"say": {"enum": [text]}},
        "required": ["say"],
        "additionalProperties": False,
    }
    return {"format": {"type": "json_schema", "schema": schema}}


def body(answer: Message) -> dict[str, object]:
    return {k: v for k, v in answer.to_dict().items() if k not in OF_ONE_REQUEST}


def text_of(answer: Message) -> str:
    return "".join(b.text for b in answer.content if b.type == "text")


def streamed(client: Anthropic, model: str, config: OutputConfigParam) -> Message:
    with client.messages.stream(model=model, max_tokens=300, messages=QUESTION, output_config=config) as stream:
        return stream.get_final_message()


def test_an_answer_is_what_vllm_said_with_every_field_of_it(claude: Anthropic, bare: Anthropic) -> None:
    said = claude.messages.create(model="plain", messages=QUESTION, max_tokens=30, extra_body=GREEDY)
    expected = bare.messages.create(model=MODEL, messages=QUESTION, max_tokens=30, extra_body=GREEDY)
    assert text_of(said)
    assert body(said) == body(expected)


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_a_stream_says_what_vllm_streams(claude: Anthropic, bare: Anthropic, model: str) -> None:
    with claude.messages.stream(model=model, messages=QUESTION, max_tokens=40, extra_body=GREEDY) as stream:
        said = stream.get_final_message()
    with bare.messages.stream(model=MODEL, messages=QUESTION, max_tokens=40, extra_body=GREEDY) as stream:
        expected = stream.get_final_message()
    assert text_of(said) == text_of(expected)
    assert (said.stop_reason, said.usage) == (expected.stop_reason, expected.usage)


def test_an_address_is_redacted_whole_and_streamed(claude: Anthropic) -> None:
    config = saying(f"Write to {ADDRESS} now.")
    whole = claude.messages.create(model="guarded", messages=QUESTION, max_tokens=300, output_config=config)
    for answer in (whole, streamed(claude, "guarded", config)):
        assert json.loads(text_of(answer)) == {"say": "Write to [EMAIL] now."}
        assert answer.stop_reason == "end_turn"


def test_a_blocked_answer_is_a_refusal_and_stops_vllm(claude: Anthropic, meter: Meter) -> None:
    config = saying("The lamp is lit.")
    whole = claude.messages.create(model="wordless", messages=QUESTION, max_tokens=300, output_config=config)
    assert whole.content == []  # where JSON is asked for, a refusal that is none would break its parser
    assert whole.stop_reason == "refusal"
    before = meter.generated()
    with claude.messages.stream(model="wordless", messages=QUESTION, max_tokens=LONG) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "refusal"
    assert answer.usage.input_tokens > 0
    assert meter.idle_within(3.0)
    assert meter.generated() - before < LONG / 2


def test_a_blocked_prompt_is_a_refusal(claude: Anthropic) -> None:
    asked: list[MessageParam] = [{"role": "user", "content": "Tell me of Project Falcon."}]
    assert claude.messages.create(model="guarded", messages=asked, max_tokens=5).stop_reason == "refusal"
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.count_tokens(model="guarded", messages=asked)
    assert caught.value.error_code == "content_filter"


@pytest.mark.parametrize("model", ["plain", "guarded"])
def test_a_tool_is_called_whole_and_streamed(claude: Anthropic, model: str) -> None:
    whole = claude.messages.create(
        model=model,
        messages=QUESTION,
        max_tokens=900,
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "weather"},
    )
    with claude.messages.stream(
        model=model, messages=QUESTION, max_tokens=900, tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"}
    ) as stream:
        answers = [whole, stream.get_final_message()]
    for answer in answers:
        (call,) = [b for b in answer.content if b.type == "tool_use"]
        assert (call.name, answer.stop_reason) == ("weather", "tool_use")
        assert call.input["city"] in ("Lisbon", "Oslo")


def test_the_result_of_a_tool_goes_back_to_the_model(claude: Anthropic) -> None:
    called: list[MessageParam] = [
        *QUESTION,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"days": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "Rain, 9 degrees"}]},
    ]
    answer = claude.messages.create(model="guarded", messages=called, tools=[WEATHER], max_tokens=5)
    assert answer.usage.output_tokens > 0


def test_the_owners_prompt_is_counted_and_joins_the_clients(claude: Anthropic, bare: Anthropic) -> None:
    owned = claude.messages.count_tokens(model="owned", messages=QUESTION, system="Be brief.").input_tokens
    plain = claude.messages.count_tokens(model="plain", messages=QUESTION, system="Be brief.").input_tokens
    joined = bare.messages.count_tokens(model=MODEL, messages=QUESTION, system=f"{OWNER}\n\nBe brief.").input_tokens
    assert plain < owned
    assert owned == joined


def test_a_mistake_is_told_in_vllms_words(claude: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.create(model="plain", messages=QUESTION, max_tokens=-1)
    assert caught.value.type == "invalid_request_error"
