"""Bare prompts through the gateway to a real vLLM, with the official SDK as client."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.vllm.asking import OWNER, saying
from tests.vllm.server import Server

pytestmark = pytest.mark.vllm

PROMPTS = ["The keeper of the light", "A gateway"]
ADDRESS = "ada@example.com"
SAID = f"Write to {ADDRESS} today."
REPEATABLE: dict[str, Any] = {"temperature": 0.8, "seed": 7, "max_tokens": 12}


def complete(client: OpenAI, model: str, *, stream: bool, **request: Any) -> list[Any]:
    """The choices, put together by index."""
    if not stream:
        body = json.loads(client.completions.with_raw_response.create(model=model, **request).text)
        return sorted(body["choices"], key=lambda c: int(c["index"]))
    out: dict[int, dict[str, Any]] = {}
    with client.completions.create(model=model, stream=True, **request) as chunks:
        for choice in (c.model_dump() for chunk in chunks for c in chunk.choices):
            known = out.setdefault(choice["index"], {"index": choice["index"], "text": "", "logprobs": None})
            known["text"] += choice["text"]
            known["finish_reason"] = choice["finish_reason"]
            if choice["logprobs"]:
                known["logprobs"] = known["logprobs"] or {name: [] for name in choice["logprobs"]}
                for name, column in choice["logprobs"].items():
                    known["logprobs"][name] += column
    return [out[i] for i in sorted(out)]


def unbroken(client: OpenAI, model: str, *, stream: bool, **request: Any) -> list[Any]:
    """The same, asked again where vLLM breaks off: 0.32 fails one echoed stream with logprobs in seven (KeyError)."""
    if not (stream and request["echo"]):
        return complete(client, model, stream=stream, **request)
    for _ in range(30):
        with contextlib.suppress(openai.APIError):
            return complete(client, model, stream=stream, **request)
    pytest.skip("vLLM broke off thirty such streams in a row")


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
@pytest.mark.parametrize("model", ["plain", "guarded"])
@pytest.mark.parametrize("echo", [False, True], ids=["answer", "echo"])
def test_what_nothing_hides_is_what_vllm_says(
    client: OpenAI, direct: OpenAI, model: str, stream: bool, echo: bool
) -> None:
    request = {"prompt": PROMPTS, "n": 2, "logprobs": 2, "echo": echo, **REPEATABLE}
    ours, theirs = (unbroken(c, m, stream=stream, **request) for c, m in ((client, model), (direct, "tiny")))
    assert [c["index"] for c in ours] == [0, 1, 2, 3]
    assert [(c["text"], c["finish_reason"]) for c in ours] == [(c["text"], c["finish_reason"]) for c in theirs]
    if model == "plain":
        assert [c["logprobs"]["tokens"] for c in ours] == [c["logprobs"]["tokens"] for c in theirs]
    else:  # rows that do not spell the text may be missing at the end
        assert all(c["logprobs"]["tokens"] for c in ours)


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
@pytest.mark.parametrize(
    "extra",
    [{}, {"return_token_ids": True}, {"return_tokens_as_token_ids": True}],
    ids=["tokens", "token_ids", "tokens as ids"],
)
def test_an_address_is_spelt_out_nowhere(client: OpenAI, stream: bool, extra: dict[str, Any]) -> None:
    body = {**saying(SAID), **extra}
    (choice,) = complete(
        client, "guarded", stream=stream, prompt=PROMPTS[0], max_tokens=60, logprobs=2, extra_body=body
    )
    assert choice["text"] == "Write to [EMAIL] today."
    rows = choice["logprobs"]
    assert rows["tokens"]
    assert len({len(column) for column in rows.values()}) == 1
    assert "".join(rows["tokens"]).replace(" ", "") in ("Writetotoday.", "Writetotoday.<|im_end|>")
    for token, offset in zip(rows["tokens"], rows["text_offset"], strict=True):
        assert choice["text"][offset:].startswith(token) or token not in choice["text"]
    assert ADDRESS not in json.dumps(choice)
    assert not choice.get("token_ids")


def test_a_prompt_may_be_refused(client: OpenAI) -> None:
    choices = complete(client, "guarded", stream=False, prompt=["Hi", "What is Project Titan?"], n=2, max_tokens=2)
    assert [c["finish_reason"] for c in choices] == ["content_filter"] * 4


@pytest.mark.parametrize("request_", [{"prompt": [1, 2, 3]}, {"prompt": "Hi", "echo": True}])
def test_nobody_gets_past_the_owners_prompt_nor_sees_it(client: OpenAI, request_: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="owned", max_tokens=2, **request_)


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
def test_the_owners_prompt_is_read_and_never_comes_back(client: OpenAI, stream: bool) -> None:
    extra: dict[str, Any] = {"return_token_ids": True} | ({} if stream else {"prompt_logprobs": 0})
    (choice,) = complete(client, "owned", stream=stream, prompt="Hi", max_tokens=4, logprobs=1, extra_body=extra)
    assert not [n for n in ("prompt_logprobs", "prompt_token_ids", "prompt_text") if choice.get(n)]
    short, long = (client.completions.create(model=m, prompt="Hi", max_tokens=1).usage for m in ("plain", "owned"))
    assert short is not None
    assert long is not None
    assert long.prompt_tokens - short.prompt_tokens >= len(OWNER.split())


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
def test_an_answer_that_repeats_the_owners_prompt_is_blocked(client: OpenAI, stream: bool) -> None:
    (choice,) = complete(
        client, "owned", stream=stream, prompt="Hi", max_tokens=200, logprobs=1, extra_body=saying(OWNER)
    )
    assert choice["finish_reason"] == "content_filter"
    assert OWNER not in json.dumps(choice)


def test_a_listed_path_reaches_vllm_beside_its_base_url(gateway: Server) -> None:
    answer = httpx.post(f"{gateway.url}/tokenize", json={"model": "guarded", "prompt": "Hi"}, trust_env=False)
    assert answer.status_code == 200
    assert answer.json()["count"] == len(answer.json()["tokens"])
    assert httpx.post(f"{gateway.url}/detokenize", json={"tokens": [1]}, trust_env=False).status_code == 404
