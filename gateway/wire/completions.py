"""`/v1/completions`: bare prompts and the texts that continue them, as the chat's answers but for their form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import InvalidRequest, Unjudged, UpstreamBroken, WardgateError
from gateway.wire import prompt as prompts
from gateway.wire.chat_answer import PROMPT_ECHOES, ChatAnswer
from gateway.wire.chat_frames import NO_USAGE, choice_frames, ending, head, wanted, wants_usage
from gateway.wire.choice import CALLS, KNOWN, ChoiceFilter
from gateway.wire.judge import Judge
from gateway.wire.legacy_logprobs import LegacyLogprobs
from gateway.wire.logprobs import Rows
from gateway.wire.prompt import TextSlot, check_common
from gateway.wire.sse import DONE, frame
from gateway.wire.surface import Ask
from gateway.wire.written import Written
from guards.policy import SystemPrompt

KIND = "text_completion"
MAX_REFUSED = 2048
"""Choices that the gateway itself would write, for a request with many prompts."""
NOT_TEXT = frozenset({"finish_reason", "routed_experts"})
OF_CHATS = ("message", "delta")


class CompletionsWire:
    """Implements `Wire`."""

    route = "/v1/completions"
    upstream = "/completions"

    def check(self, request: dict[str, Any]) -> None:
        check_common(request)
        if not isinstance(request.get("echo"), bool | None):
            raise InvalidRequest("`echo` must be true or false.", param="echo")
        if not isinstance(request.get("suffix"), str | None):
            raise InvalidRequest("`suffix` must be a string.", param="suffix")
        if request.get("prompt") is None and request.get("prompt_embeds") is not None:
            return
        if texts_of(request) is None and not is_ids(request.get("prompt")):
            raise InvalidRequest(
                "`prompt` must be a string, an array of strings, or token ids, and not empty.", param="prompt"
            )

    def slots(self, request: dict[str, Any]) -> Iterator[TextSlot]:
        texts = readable(request)
        if isinstance(request["prompt"], str):
            yield TextSlot(request, "prompt", "prompt", request["prompt"], "user")
        else:
            for i, text in enumerate(texts):
                yield TextSlot(request["prompt"], i, f"prompt[{i}]", text, "user")
        if request.get("suffix"):
            yield TextSlot(request, "suffix", "suffix", request["suffix"], "user")

    def question(self, request: dict[str, Any]) -> str:
        return "\n\n".join(texts_of(request) or ())

    def for_upstream(self, request: dict[str, Any], prompt: SystemPrompt | None, *, guarded: bool) -> dict[str, Any]:
        out = dict(request)
        if prompt is not None:
            texts = readable(request)
            if request.get("echo"):
                raise InvalidRequest(
                    "`echo` would repeat the instructions that this model's owner gave it; leave it out.", param="echo"
                )
            led = [with_system_prompt(text, prompt) for text in texts]
            out["prompt"] = led[0] if isinstance(request["prompt"], str) else led
        return prompts.kept_readable(out, prompt, guarded=guarded)

    def refused(self, ask: Ask) -> bytes:
        choices = [refused_choice(i, ask.refusal) for i in refused_indices(ask.request)]
        body = {**head(ask, KIND, "cmpl"), "choices": choices, "usage": NO_USAGE}
        return orjson.dumps({**body, "wardgate": ask.findings()})

    def refused_stream(self, ask: Ask) -> bytes:
        known = head(ask, KIND, "cmpl")
        out = refused_frames(known, ask.refusal, refused_indices(ask.request), ask.findings())
        return out + ending(known, NO_USAGE if wants_usage(ask.request) else None)

    def broken(self, error: WardgateError) -> bytes:
        return frame(orjson.dumps(error.body())) + DONE

    def answer(self, ask: Ask, judge: Judge, *, guarded: bool) -> CompletionAnswer:
        return CompletionAnswer(ask, judge, guarded)


def texts_of(request: dict[str, Any]) -> list[str] | None:
    """The prompts; None where they are no texts."""
    given = request.get("prompt")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given and all(isinstance(text, str) for text in given):
        return given
    return None


def is_ids(given: object) -> bool:
    """A prompt in token ids, or several."""
    if not isinstance(given, list) or not given:
        return False
    return all_ids(given) or all(isinstance(each, list) and bool(each) and all_ids(each) for each in given)


def all_ids(given: list[Any]) -> bool:
    return all(type(each) is int for each in given)


def readable(request: dict[str, Any]) -> list[str]:
    """The prompts, where they must be texts; Unjudged where they are not."""
    if request.get("prompt_embeds") is not None:
        raise Unjudged(
            "This model's policy needs the text of a prompt, and embeddings have none; leave `prompt_embeds` out.",
            param="prompt_embeds",
        )
    texts = texts_of(request)
    if texts is None:
        raise Unjudged(
            "This model's policy needs the text of a prompt: send a string or an array of strings, not token ids.",
            param="prompt",
        )
    return texts


def prompts_in(request: dict[str, Any]) -> int:
    """How many prompts the request has; each is answered `n` times, in order."""
    given, embeds = request.get("prompt"), request.get("prompt_embeds")
    many = isinstance(given, list) and not all_ids(given)
    texts = len(given or ()) if many else int(given is not None)
    return texts + (len(embeds) if isinstance(embeds, list) else int(embeds is not None))


def with_system_prompt(text: str, prompt: SystemPrompt) -> str:
    """A bare prompt has no roles: the owner's text stands before it, in every mode, with an empty line between."""
    return f"{prompt.text}\n\n{text}" if prompt.text.strip() else text


def refused_indices(request: dict[str, Any]) -> list[int]:
    return list(range(min(wanted(request) * prompts_in(request), MAX_REFUSED)))


def refused_choice(index: int, refusal: str) -> dict[str, Any]:
    return {"index": index, "text": refusal, "logprobs": None, "finish_reason": "content_filter"}


def refused_frames(head: dict[str, Any], refusal: str, indices: list[int], wardgate: dict[str, Any] | None) -> bytes:
    """The refusal as a text of each choice, and the chunks that end them."""
    choices: list[dict[str, Any]] = []
    for index in indices:
        choices += [{**refused_choice(index, refusal), "finish_reason": None}, refused_choice(index, "")]
    return choice_frames(head, choices, wardgate)


@dataclass(slots=True)
class CompletionAnswer(ChatAnswer):
    """Implements `AnswerFilter`. Choice `j` of prompt `i` has index `i * n + j`."""

    def __post_init__(self) -> None:
        ChatAnswer.__post_init__(self)
        self.expected *= prompts_in(self.ask.request)
        if self.ask.request.get("echo") and not self.judge.lane.idle:  # then they repeat a text that is judged
            self.stripped = tuple(dict.fromkeys((*PROMPT_ECHOES, *self.stripped)))

    def choice(self, index: int) -> ChoiceFilter:
        return TextChoice(index, self.judge, from_zero=self.ask.hide_prompt)

    def blank(self, index: int) -> dict[str, Any]:
        return {**refused_choice(index, ""), "finish_reason": None}

    def refused_choice(self, index: int) -> dict[str, Any]:
        return refused_choice(index, self.ask.refusal)

    def refusing(self, choices: list[int], findings: dict[str, Any] | None) -> bytes:
        return refused_frames(self.last, self.ask.refusal, choices, findings)


@dataclass(slots=True)
class TextChoice(ChoiceFilter):
    """A choice whose text stands in itself."""

    place: str = "choices[{}].{}"
    not_text: frozenset[str] = NOT_TEXT
    seen_to: frozenset[str] = KNOWN | CALLS | frozenset(PROMPT_ECHOES)
    from_zero: bool = False
    columns: LegacyLogprobs | None = None

    def node(self, choice: dict[str, Any], key: str) -> dict[str, Any]:
        if not isinstance(choice.get("text"), str | None) or any(choice.get(name) for name in OF_CHATS):
            raise UpstreamBroken("The upstream sent a choice of unknown shape.")
        return choice

    @property
    def logprobs_asked(self) -> bool:
        return self.columns is not None or self.logprobs is not None

    def leaving_logprobs(self, node: dict[str, Any] | None, *, final: bool) -> dict[str, Any] | None:
        if self.logprobs is not None or (node is not None and "content" in node):  # as chats have them, by llama.cpp
            return ChoiceFilter.leaving_logprobs(self, node, final=final)
        if self.columns is None:
            self.columns = LegacyLogprobs(Rows(self.judge.acts_on), self.from_zero)
        if "text" not in self.texts:  # the text of the first tokens is still to come
            self.texts["text"], self.raw["text"] = self.judge.filter(), Written()
        return self.columns.feed(node or {}, self.speech("text"), final=final)
