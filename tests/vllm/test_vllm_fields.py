"""Fields that only vLLM knows reach it through the gateway, and none of them opens a way around a policy."""

from __future__ import annotations

import json
import re
from contextlib import suppress

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam
from openai.types.shared_params import ResponseFormatJSONSchema

from tests.vllm.asking import OWNER, QUESTION, saying
from tests.vllm.server import Server
from tests.vllm.spelling import Spelling

pytestmark = pytest.mark.vllm

MOOD: dict[str, object] = {
    "type": "object",
    "properties": {"mood": {"enum": ["calm", "glad"]}, "score": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["mood", "score"],
    "additionalProperties": False,
}
ADDRESS = "ada@example.com"


@pytest.mark.parametrize("model", ["plain", "owned", "guarded"])
def test_response_format_forces_the_schema(client: OpenAI, model: str) -> None:
    format: ResponseFormatJSONSchema = {
        "type": "json_schema",
        "json_schema": {"name": "mood", "schema": MOOD, "strict": True},
    }
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=90, response_format=format)
    said = json.loads(answer.choices[0].message.content or "")
    assert said["mood"] in ("calm", "glad")
    assert said["score"] in range(10)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"json": MOOD}, r'\{"mood": ?"(calm|glad)", ?"score": ?\d\}'),
        ({"regex": "[0-9]{3}-[a-f]{2}"}, r"[0-9]{3}-[a-f]{2}"),
        ({"choice": ["north", "south"]}, r"north|south"),
        ({"grammar": 'root ::= "yes" | "no"'}, r"yes|no"),
    ],
    ids=["json", "regex", "choice", "grammar"],
)
def test_structured_outputs_force_the_form(client: OpenAI, form: dict[str, object], expected: str) -> None:
    answer = client.chat.completions.create(
        model="guarded", messages=QUESTION, max_tokens=90, extra_body={"structured_outputs": form}
    )
    assert re.fullmatch(expected, answer.choices[0].message.content or "")


def test_guided_fields_of_older_releases_reach_vllm(client: OpenAI, vllm_server: Server) -> None:
    client.chat.completions.create(
        model="plain", messages=QUESTION, max_tokens=2, extra_body={"guided_choice": ["north", "south"]}
    )
    # This release heeds them no more, but says in its log that it has seen them.
    assert "guided_choice" in vllm_server.log.read_text()


def test_top_k_of_one_always_takes_the_likeliest_word(client: OpenAI) -> None:
    answers = [
        client.chat.completions.create(
            model="plain", messages=QUESTION, max_tokens=15, temperature=1.0, extra_body={"top_k": 1}
        )
        for _ in range(2)
    ]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


ECHOES: dict[str, dict[str, object]] = {
    "prompt_logprobs": {"prompt_logprobs": 1},
    "return_token_ids": {"return_token_ids": True},
    "return_prompt_text": {"return_prompt_text": True},
    "echo": {"echo": True},
    "all of them": {"prompt_logprobs": 0, "return_token_ids": True, "return_prompt_text": True, "echo": True},
}


@pytest.mark.parametrize("extra", ECHOES.values(), ids=list(ECHOES))
def test_the_prompt_comes_back_where_it_is_all_the_clients_own(
    client: OpenAI, spelling: Spelling, extra: dict[str, object]
) -> None:
    assert spelling.shows(raw(client, "plain", extra), str(QUESTION[0]["content"]))


@pytest.mark.parametrize("extra", ECHOES.values(), ids=list(ECHOES))
def test_the_owners_prompt_never_comes_back(client: OpenAI, spelling: Spelling, extra: dict[str, object]) -> None:
    assert not spelling.shows(raw(client, "owned", extra), OWNER)


@pytest.mark.parametrize("name", ["return_token_ids", "return_prompt_text"])
def test_the_owners_prompt_never_comes_back_in_a_stream(client: OpenAI, spelling: Spelling, name: str) -> None:
    extra = {"stream": True, **ECHOES[name]}
    assert spelling.shows(raw(client, "plain", extra), str(QUESTION[0]["content"]))
    assert not spelling.shows(raw(client, "owned", extra), OWNER)


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
def test_an_answer_that_repeats_the_owners_prompt_is_blocked(client: OpenAI, stream: bool) -> None:
    assert OWNER not in answered(client, "owned", OWNER, stream=stream)


@pytest.mark.parametrize(
    "extra",
    [
        {"truncate_prompt_tokens": 20},
        {"truncate_prompt_tokens": 20, "truncation_side": "left"},
        {"chat_template": "{{ messages[-1].content }}"},
        {"chat_template_kwargs": {"messages": []}},
        {"chat_template_kwargs": {"chat_template": "{{ messages[-1].content }}"}},
    ],
    ids=["truncated", "truncated at the left", "template", "messages of the template", "template of the template"],
)
def test_the_owners_prompt_cannot_be_left_out(client: OpenAI, extra: dict[str, object]) -> None:
    """Neither cut off, since it stands at the beginning, nor templated away: refused, or read as if not asked for."""
    long: list[ChatCompletionMessageParam] = [{"role": "user", "content": "again and " * 30}]
    whole = client.chat.completions.create(model="owned", messages=long, max_tokens=1)
    with suppress(openai.BadRequestError):
        short = client.chat.completions.create(model="owned", messages=long, max_tokens=1, extra_body=extra)
        assert whole.usage is not None
        assert short.usage is not None
        assert short.usage.prompt_tokens == whole.usage.prompt_tokens


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
def test_an_address_is_redacted(client: OpenAI, stream: bool) -> None:
    said = answered(client, "guarded", f"Write to {ADDRESS} today.", stream=stream)
    assert said == "Write to [EMAIL] today."


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
@pytest.mark.parametrize(
    "extra",
    [{}, {"return_token_ids": True}, {"return_tokens_as_token_ids": True}],
    ids=["tokens", "token_ids", "tokens as ids"],
)
def test_what_was_redacted_is_not_spelt_out_elsewhere(
    client: OpenAI, spelling: Spelling, extra: dict[str, object], stream: bool
) -> None:
    text = f"Write to {ADDRESS} today."
    answer = raw(client, "guarded", {"logprobs": True, "top_logprobs": 2, "stream": stream, **extra, **saying(text)})
    assert '"finish_reason":"stop"' in answer
    assert not spelling.shows(answer, ADDRESS)


def raw(client: OpenAI, model: str, extra: dict[str, object]) -> str:
    """An answer's bytes, as they came."""
    answer = client.chat.completions.with_raw_response.create(
        model=model, messages=QUESTION, max_tokens=60, extra_body=extra
    )
    return answer.text


def answered(client: OpenAI, model: str, text: str, *, stream: bool) -> str:
    """What arrives when the model says `text`."""
    extra = saying(text)
    if not stream:
        answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=200, extra_body=extra)
        return answer.choices[0].message.content or ""
    with client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=200, stream=True, extra_body=extra
    ) as chunks:
        return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
