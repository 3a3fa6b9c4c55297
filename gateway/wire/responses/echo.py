"""The response object around the output: what repeats the request, and what does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.wire.responses.items import walk
from gateway.wire.responses.texts import Texts
from gateway.wire.tree import strings

RAW = ("input_messages", "output_messages", "prompt_token_ids", "token_ids", "prompt_text")
"""Fields in which vLLM shows the prompt and the answer as the model saw them, past every guard."""
PROMPT = ("instructions", "input")
"""Fields that repeat what the model was told."""
OUTPUT = "output"
PLAIN = frozenset({"id", "model", "object", "previous_response_id", "status"})
"""Fields that hold a name."""


@dataclass(slots=True)
class Echo:
    """Makes the frame of an answer fit for whoever asked."""

    request: dict[str, Any]
    hide_prompt: bool
    guarded: bool
    asked: frozenset[str] | None = None
    """Every string of the request, once somebody needs them."""

    def mend(self, response: dict[str, Any], texts: Texts) -> bool:
        """In place; whether anything is to change. The output is left alone."""
        changed = False
        for name in RAW:
            if response.get(name) is not None and (self.guarded or self.hide_prompt):
                response[name] = None
                changed = True
        for name in PROMPT:
            if name in response and response[name] != self.request.get(name):
                response[name] = self.request.get(name)
                changed = True
        if self.guarded:
            self._judge(response, texts)
        return changed or self.guarded

    def _judge(self, response: dict[str, Any], texts: Texts) -> None:
        """What the client did not write itself is a text of the model's side."""
        if self.asked is None:
            self.asked = frozenset(strings(self.request))
        rest = {name: value for name, value in response.items() if name != OUTPUT and name not in PLAIN}
        walk(texts, rest, "", asked=self.asked)
        for name in [n for n in response if n != OUTPUT and n not in PLAIN]:
            if name in rest:
                response[name] = rest[name]
            else:
                del response[name]
