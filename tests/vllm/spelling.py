"""Everything that an answer says, in whichever form it says it: text, tokens, bytes, token ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx


class Spelling:
    """Reads the bytes of an answer, streamed or not, as somebody would who looks for what was to be hidden."""

    def __init__(self, vllm_url: str) -> None:
        self.vllm_url = vllm_url

    def shows(self, answer: str, secret: str) -> bool:
        return any(secret in text for text in (answer, *self._texts(answer)))

    def _texts(self, answer: str) -> tuple[str, ...]:
        text, tokens, octets, ids = "", "", b"", list[int]()
        for key, value in _walk(_documents(answer)):
            if key == "content" and isinstance(value, str):
                text += value
            elif key == "content" and isinstance(value, list):
                tokens += "".join(t["token"] for t in value)
                octets += bytes(b for t in value for b in t["bytes"] or [])
            elif key == "prompt_logprobs" and isinstance(value, list):
                # The token that stands there comes first, before the likelier ones.
                chosen = [next(iter(place.items())) for place in value if place]
                ids += [int(id) for id, _ in chosen]
                tokens += "".join(shown["decoded_token"] for _, shown in chosen)
            elif key in ("token_ids", "prompt_token_ids") and isinstance(value, list):
                ids += value
        ids += [int(id) for id in re.findall(r"token_id:(\d+)", tokens)]
        return text, tokens, octets.decode(errors="replace"), self._detokenized(ids)

    def _detokenized(self, ids: list[int]) -> str:
        if not ids:
            return ""
        reply = httpx.post(f"{self.vllm_url}/detokenize", json={"tokens": ids}, timeout=10, trust_env=False)
        return str(reply.raise_for_status().json()["prompt"])


def _documents(answer: str) -> list[object]:
    if not answer.startswith("data:"):
        return [json.loads(answer)]
    data = (line.removeprefix("data:").strip() for line in answer.splitlines() if line.startswith("data:"))
    return [json.loads(document) for document in data if document != "[DONE]"]


def _walk(node: object) -> Iterator[tuple[str, object]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from _walk(value)
    elif isinstance(node, list):
        for item in node:
            yield from _walk(item)
