"""The carriers that are tried, and how an application asks for an answer that has them."""

from __future__ import annotations

from typing import NamedTuple

from tests.bench.carriers.plan import TOOL, asked

Json = dict[str, object]
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}


class Case(NamedTuple):
    surface: str
    carrier: str
    name: str
    """As the surface calls it."""

    def request(self, model: str, marker: str, gap_us: int, *, stream: bool) -> Json:
        text = asked(self.carrier, marker, gap_us)
        body: Json = {"model": model, **self._prompt(text), **self._wanted()}
        return {**body, "stream": True} if stream else body

    def _prompt(self, text: str) -> Json:
        if self.surface == "completions":
            return {"prompt": text, "max_tokens": 1000}
        if self.surface == "responses":
            return {"input": text}
        more = {"max_tokens": 2000} if self.surface == "messages" else {}
        return {"messages": [{"role": "user", "content": text}], **more}

    def _wanted(self) -> Json:
        if self.carrier == "choice_1":
            return {"n": 2}
        if self.carrier == "logprobs":
            return {"logprobs": True, "top_logprobs": 2} if self.surface == "chat" else {"logprobs": 2}
        if self.carrier in ("arguments", "tool_name"):
            return {"tools": [_tool(self.surface)]}
        if self.carrier == "reasoning" and self.surface == "messages":
            return {"thinking": {"type": "enabled", "budget_tokens": 1024}}
        return {}


def _tool(surface: str) -> Json:
    if surface == "messages":
        return {"name": TOOL, "description": "Weather.", "input_schema": SCHEMA}
    function: Json = {"name": TOOL, "description": "Weather.", "parameters": SCHEMA}
    return {"type": "function", **(function if surface == "responses" else {"function": function})}


CASES = (
    Case("chat", "content", "content"),
    Case("chat", "choice_1", "content of choice 1, interleaved"),
    Case("chat", "refusal", "refusal"),
    Case("chat", "reasoning_content", "reasoning_content"),
    Case("chat", "reasoning", "reasoning"),
    Case("chat", "arguments", "tool call's arguments"),
    Case("chat", "tool_name", "tool call's name"),
    Case("chat", "logprobs", "logprobs beside the content"),
    Case("completions", "content", "text"),
    Case("completions", "choice_1", "text of choice 1, interleaved"),
    Case("completions", "logprobs", "logprobs beside the text"),
    Case("responses", "content", "output_text"),
    Case("responses", "refusal", "refusal"),
    Case("responses", "reasoning", "reasoning_text"),
    Case("responses", "summary", "reasoning summary"),
    Case("responses", "arguments", "function_call arguments"),
    Case("responses", "tool_name", "function_call name"),
    Case("messages", "content", "text"),
    Case("messages", "reasoning", "thinking"),
    Case("messages", "arguments", "tool_use input"),
    Case("messages", "tool_name", "tool_use name"),
)
