"""The synchronous and the asynchronous `openai` client, asked in the same words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from tests.gateway.clients.world import FETCH, KEY, REFUSE, WAIT, Seen

TOOLS = [
    {"type": "function", "function": {"name": "fetch", "parameters": FETCH}},
    {"type": "function", "function": {"name": "wait", "parameters": WAIT}},
]


@dataclass
class Told:
    """What the stream helper told."""

    seen: Seen
    events: list[Any]
    final: Any
    """The completion; of a blocked one the SDK raises an error that has it."""


class Way(Protocol):
    """One client. Keywords go into the request."""

    async def close(self) -> None: ...
    async def whole(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen: ...
    async def streamed(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen: ...
    async def helped(self, prompt: str, model: str = REFUSE, **more: Any) -> Told: ...
    async def parsed(self, prompt: str, form: type[BaseModel], model: str = REFUSE) -> Any: ...
    async def responded(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen: ...
    async def responses_streamed(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen: ...
    async def responses_helped(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        """The final response."""

    async def call(self, of: Callable[..., Any]) -> Any:
        """Whatever else `of` asks of the client."""


@dataclass
class Sync:
    """Each request in a thread, for the gateway runs in this one."""

    client: Any

    @classmethod
    def to(cls, base: str, key: str, retries: int) -> Sync:
        return cls(openai.OpenAI(base_url=base, api_key=key, max_retries=retries, timeout=10))

    async def close(self) -> None:
        self.client.close()

    async def whole(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen:
        create = self.client.chat.completions.create
        return of_body(await asyncio.to_thread(create, model=model, messages=said(prompt), **more))

    async def streamed(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen:
        def read() -> Seen:
            create = self.client.chat.completions.create
            with create(model=model, messages=said(prompt), stream=True, **more) as chunks:
                return of_chunks(chunks)

        return await asyncio.to_thread(read)

    async def helped(self, prompt: str, model: str = REFUSE, **more: Any) -> Told:
        def read() -> Told:
            with self.client.chat.completions.stream(model=model, messages=said(prompt), **more) as stream:
                events = list(stream)
                try:
                    return told(events, stream.get_final_completion(), None)
                except openai.ContentFilterFinishReasonError as error:
                    return told(events, error.completion, error)

        return await asyncio.to_thread(read)

    async def parsed(self, prompt: str, form: type[BaseModel], model: str = REFUSE) -> Any:
        parse = self.client.chat.completions.parse
        return await asyncio.to_thread(parse, model=model, messages=said(prompt), response_format=form)

    async def responded(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen:
        return of_response(await asyncio.to_thread(self.client.responses.create, model=model, input=prompt, **more))

    async def responses_streamed(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen:
        def read() -> Seen:
            with self.client.responses.create(model=model, input=prompt, stream=True, **more) as events:
                return of_events(list(events))

        return await asyncio.to_thread(read)

    async def responses_helped(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        def read() -> Any:
            with self.client.responses.stream(model=model, input=prompt, **more) as stream:
                return list(stream)[-1].response

        return await asyncio.to_thread(read)

    async def call(self, of: Callable[..., Any]) -> Any:
        return await asyncio.to_thread(of, self.client)


@dataclass
class Async:
    client: Any

    @classmethod
    def to(cls, base: str, key: str, retries: int) -> Async:
        return cls(openai.AsyncOpenAI(base_url=base, api_key=key, max_retries=retries, timeout=10))

    async def close(self) -> None:
        await self.client.close()

    async def whole(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen:
        return of_body(await self.client.chat.completions.create(model=model, messages=said(prompt), **more))

    async def streamed(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen:
        create = self.client.chat.completions.create
        async with await create(model=model, messages=said(prompt), stream=True, **more) as chunks:
            return of_chunks([chunk async for chunk in chunks])

    async def helped(self, prompt: str, model: str = REFUSE, **more: Any) -> Told:
        async with self.client.chat.completions.stream(model=model, messages=said(prompt), **more) as stream:
            events = [event async for event in stream]
            try:
                return told(events, await stream.get_final_completion(), None)
            except openai.ContentFilterFinishReasonError as error:
                return told(events, error.completion, error)

    async def parsed(self, prompt: str, form: type[BaseModel], model: str = REFUSE) -> Any:
        return await self.client.chat.completions.parse(model=model, messages=said(prompt), response_format=form)

    async def responded(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen:
        return of_response(await self.client.responses.create(model=model, input=prompt, **more))

    async def responses_streamed(self, prompt: str, model: str = REFUSE, **more: Any) -> Seen:
        async with await self.client.responses.create(model=model, input=prompt, stream=True, **more) as events:
            return of_events([event async for event in events])

    async def responses_helped(self, prompt: str, model: str = REFUSE, **more: Any) -> Any:
        async with self.client.responses.stream(model=model, input=prompt, **more) as stream:
            return [event async for event in stream][-1].response

    async def call(self, of: Callable[..., Any]) -> Any:
        return await of(self.client)


class Connect(Protocol):
    """Makes a client of the gateway."""

    def __call__(self, key: str = KEY, retries: int = 0) -> Way: ...


def said(prompt: str) -> Any:
    return [{"role": "user", "content": prompt}]


def of_body(answer: ChatCompletion) -> Seen:
    choice = answer.choices[0]
    made = [c.function for c in choice.message.tool_calls or () if c.type == "function"]
    return Seen(
        choice.message.content or "",
        choice.finish_reason,
        action_of(answer),
        tuple((f.name, f.arguments) for f in made),
    )


def of_chunks(chunks: Iterable[ChatCompletionChunk]) -> Seen:
    calls: dict[int, tuple[str, str]] = {}
    text, end, action = "", None, None
    for chunk in chunks:
        action = action_of(chunk) or action
        for choice in (c for c in chunk.choices if c.index == 0):
            text += choice.delta.content or ""
            end = choice.finish_reason or end
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                name, arguments = calls.get(call.index, ("", ""))
                calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
    return Seen(text, end, action, tuple(calls.values()))


def of_response(response: Any) -> Seen:
    calls = [(item.name, item.arguments) for item in response.output if item.type == "function_call"]
    return Seen(response.output_text, response.status, action_of(response), tuple(calls))


def of_events(events: list[Any]) -> Seen:
    """The deltas must spell what the last event says."""
    seen = of_response(events[-1].response)
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == seen.text
    assert [e.arguments for e in events if e.type == "response.function_call_arguments.done"] == [
        a for _, a in seen.calls
    ]
    return seen


def told(events: list[Any], final: Any, filtered: openai.ContentFilterFinishReasonError | None) -> Told:
    seen = of_chunks(event.chunk for event in events if event.type == "chunk")
    assert seen._replace(action=None) == of_body(final)._replace(action=None)
    assert (filtered is not None) == (seen.end == "content_filter")
    return Told(seen, events, final)


def action_of(answer: BaseModel) -> str | None:
    found = (answer.model_extra or {}).get("wardgate")
    return found["action"] if found else None
