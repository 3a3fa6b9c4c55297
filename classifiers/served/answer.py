"""What vLLM answers, read strictly: the text, how it ended, and the likeliest tokens at each place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from classifiers.classifier import ClassifierError

Model = TypeVar("Model", bound=BaseModel)
One = Field(min_length=1, max_length=1)
Logprob = Annotated[float, Field(le=1e-3, allow_inf_nan=False)]
"""A logarithm of a probability; rounding may take it a little above nought."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that the guard wrote, and what it might have written there instead, itself included."""

    text: str
    top: tuple[tuple[str, float], ...]
    """(token, logarithm of its probability)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guard wrote."""

    text: str
    whole: bool
    """It ended by itself, and was not cut off."""
    tokens: tuple[Token, ...]
    """Of all it wrote: with its thoughts, where vLLM keeps them out of the text, and with the token that ended it."""


class Wire(BaseModel):
    model_config = ConfigDict(strict=True)


class Alternative(Wire):
    token: str
    logprob: Logprob


class ChatToken(Wire):
    token: str
    top_logprobs: list[Alternative]


class ChatLogprobs(Wire):
    content: list[ChatToken]


class Message(Wire):
    content: str


class ChatChoice(Wire):
    message: Message
    logprobs: ChatLogprobs
    finish_reason: str


class ChatBody(Wire):
    choices: Annotated[list[ChatChoice], One]


class TextLogprobs(Wire):
    tokens: list[str]
    top_logprobs: list[dict[str, Logprob]]


class TextChoice(Wire):
    text: str
    logprobs: TextLogprobs
    finish_reason: str


class TextBody(Wire):
    choices: Annotated[list[TextChoice], One]


class Probabilities(Wire):
    label: str | None
    probs: list[Annotated[float, Field(ge=0, le=1.001, allow_inf_nan=False)]]


class ClassifyBody(Wire):
    data: Annotated[list[Probabilities], One]


def chat_answer(body: bytes) -> Answer:
    choice = _read(ChatBody, body).choices[0]
    tokens = [Token(t.token, tuple((a.token, a.logprob) for a in t.top_logprobs)) for t in choice.logprobs.content]
    return Answer(choice.message.content, choice.finish_reason == "stop", tuple(tokens))


def text_answer(body: bytes) -> Answer:
    choice = _read(TextBody, body).choices[0]
    written = choice.logprobs
    if len(written.tokens) != len(written.top_logprobs):
        raise parse_error("vLLM gave another number of tokens than of their likelihoods")
    pairs = zip(written.tokens, written.top_logprobs, strict=True)
    return Answer(choice.text, choice.finish_reason == "stop", tuple(Token(t, tuple(a.items())) for t, a in pairs))


def probabilities(body: bytes) -> Probabilities:
    return _read(ClassifyBody, body).data[0]


def parse_error(message: str) -> ClassifierError:
    return ClassifierError(message, "parse")


def _read(kind: type[Model], body: bytes) -> Model:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        # Not the error's own message: that would quote the answer, and with it maybe the judged text.
        raise parse_error(f"vLLM's answer is not of the form {kind.__name__}: {error.error_count()} errors") from None
