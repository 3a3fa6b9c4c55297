"""Guards that say what a test wants: bodies as vLLM sends them, with likelihoods for every token."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from classifiers.classifier import Sample, Scores
from classifiers.served.classes import Classes
from classifiers.served.families import FAMILIES
from classifiers.served.family import CHAT, CLASSIFY, Family
from tests.fakes import Reply, Request

PIECE = re.compile(r"\s*[A-Za-z0-9]+|\s*[^\sA-Za-z0-9]|\s+")
RIVALS = {"safe": "unsafe", "unsafe": "safe", "yes": "no", "no": "yes", "0": "1", "1": "0", "controversial": "safe"}
SURE = 0.9
"""How likely a guard finds the label that it says."""
PROMPT = Sample("How do I bake bread?")
RESPONSE = Sample("Knead it well.", "response", "How do I bake bread?")
SAMPLES = {"prompt": PROMPT, "response": RESPONSE}
CLASSES = Classes((("SAFE", ""), ("INJECTION", "injection"), ("JAILBREAK", "jailbreak")))
EVERY: dict[str, Family] = {**FAMILIES, "classify": CLASSES}
Places = list[tuple[str, dict[str, float]]]
"""Each token, and the probabilities of what could stand in its place."""


def places(text: str, sure: float = SURE) -> Places:
    return [(piece, chances(piece, sure)) for piece in PIECE.findall(text)]


def chances(piece: str, sure: float) -> dict[str, float]:
    """A label has the rival that it would be mistaken for; any other token is certain."""
    label = piece.strip()
    if label.lower() not in RIVALS:
        return {piece: 1.0}
    rival = RIVALS[label.lower()]
    return {piece: sure, piece.replace(label, rival.capitalize() if label.istitle() else rival): 1 - sure}


def chat(text: str | None, written: Places | None = None, finish: str = "stop", end: str = "<|eot|>") -> bytes:
    """`written`: where it is not simply the text. A last token, which is none of the text, ends the answer."""
    ended = [*(places(text or "") if written is None else written), *([(end, {end: 1.0})] if end else [])]
    content = [
        {"token": token, "logprob": 0.0, "bytes": None, "top_logprobs": [alternative(*a) for a in likely.items()]}
        for token, likely in ended
    ]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps({"id": "chatcmpl-1", "choices": [choice | {"logprobs": {"content": content}}]}).encode()


def alternative(token: str, chance: float) -> dict[str, Any]:
    return {"token": token, "logprob": log(chance), "bytes": list(token.encode())}


def text(text: str, written: Places | None = None, finish: str = "stop") -> bytes:
    """As `/v1/completions` has it."""
    said = places(text) if written is None else written
    logprobs = {
        "tokens": [token for token, _ in said],
        "top_logprobs": [{token: log(chance) for token, chance in likely.items()} for _, likely in said],
    }
    choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}
    return json.dumps({"id": "cmpl-1", "choices": [choice]}).encode()


def classes(*probs: float, label: str | None = None) -> bytes:
    data = {"index": 0, "label": label, "probs": probs, "num_classes": len(probs)}
    return json.dumps({"id": "classify-1", "object": "list", "data": [data]}).encode()


def log(chance: float) -> float:
    return math.log(chance) if chance else -9999.0


def body(family: Family, said: str, finish: str = "stop") -> bytes:
    """`said` as the server of the family would send it."""
    path = family.asks(PROMPT)[0].path
    return chat(said, finish=finish) if path == CHAT else text(said, finish=finish)


def scores(family: Family, sample: Sample, said: str | Sequence[str], finish: str = "stop") -> Scores:
    """One text for all of its questions, or one for each."""
    asks = family.asks(sample)
    each = [said] * len(asks) if isinstance(said, str) else said
    return family.scores(sample, [body(family, one, finish) for one in each])


ANSWERS = {
    "llama_guard": "\n\nunsafe\nS10",
    "shieldgemma": "Yes",
    "wildguard": "Harmful request: yes\nResponse refusal: no\nHarmful response: yes",
    "granite_guardian_3.1": "Yes",
    "granite_guardian_3.2": "Yes\n<confidence> High </confidence>",
    "granite_guardian_3.3": "<score> yes </score>",
    "granite_guardian_4.1": "<think>\n</think>\n<score> yes </score>",
    "nemotron_content_safety_3.5": "User Safety: unsafe",
    "nemotron_safety_guard": '{"User Safety": "unsafe"}',
    "qwen3guard": "Safety: Unsafe\nCategories: Violent",
    "gpt_oss_safeguard": "1",
}
"""What each family says of a bad prompt."""


def guard(name: str) -> Any:
    """A script for a fake vLLM that finds everything bad."""

    def script(request: Request) -> Reply:
        if request.path == CLASSIFY:
            return Reply([classes(1 - SURE, SURE, 0.0, label="INJECTION")])
        return Reply([chat(ANSWERS[name]) if request.path == CHAT else text(ANSWERS[name])])

    return script
