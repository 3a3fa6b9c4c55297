"""A response on its way to the client, streamed or whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.errors import UpstreamBroken
from gateway.wire.chat_frames import parse_chunk, upstream_said
from gateway.wire.judge import Judge
from gateway.wire.responses import refusal
from gateway.wire.responses.echo import Echo
from gateway.wire.responses.events import ENDING, OPENING, Teller, frame, parse_frame
from gateway.wire.responses.items import settle
from gateway.wire.responses.output import Output
from gateway.wire.responses.texts import CHOICE, Texts
from gateway.wire.surface import Ask, Track

WARDGATE = b'"wardgate"'


@dataclass(slots=True)
class ResponsesAnswer:
    """Implements `AnswerFilter`."""

    ask: Ask
    judge: Judge
    guarded: bool
    teller: Teller
    id: str
    """Of a response that the gateway writes itself; the upstream knows none of that name."""
    done: bool = False
    clean: bool = False
    ended: bool = False
    """The model ended its answer itself."""
    blocked: bool = False
    head: dict[str, Any] = field(default_factory=dict)
    """The response as it was opened."""
    opened: set[str] = field(default_factory=set)
    """The opening events that were told."""
    texts: Texts = field(init=False)
    echo: Echo = field(init=False)
    output: Output = field(init=False)

    def __post_init__(self) -> None:
        self.texts = Texts(self.judge)
        self.echo = Echo(self.ask.request, self.ask.hide_prompt, self.guarded)
        self.output = Output(self.texts, self.teller)

    @property
    def over(self) -> bool:
        return self.ended or self.blocked

    @property
    def held(self) -> int:
        return self.texts.held + self.output.held

    # -- whole answers

    def whole(self, body: dict[str, Any]) -> tuple[bool, list[int]]:
        output = body.get("output")
        if not isinstance(output, list):
            raise UpstreamBroken("The upstream sent an answer of unknown shape.")
        changed = self.echo.mend(body, self.texts)
        if self.guarded:
            for i, item in enumerate(output):
                settle(self.texts, item, f"output[{i}]")
        self.ended = True
        return changed, [CHOICE] if self.texts.blocked else []

    def refuse_whole(self, body: dict[str, Any], choices: Iterable[int]) -> None:
        """Its id goes too: what was blocked is no history for `previous_response_id`."""
        self.blocked = True
        body.update({**refusal.filtered(body, [refusal.refused_message(self.ask)]), "id": self.id})

    # -- streams

    def frame(self, payload: bytes, out: list[bytes]) -> list[int]:
        if payload == b"[DONE]":
            return self._no_more()
        event = parse_chunk(payload)
        name = event.get("type")
        if name == "error" or (not isinstance(name, str) and "error" in event):
            raise upstream_said({"error": event.get("error") or event})
        if not isinstance(name, str) or not name.replace(".", "").replace("_", "").isalpha():
            raise UpstreamBroken("The upstream sent an event of unknown shape.")
        if name in OPENING:
            self._begin(name, event, payload, out)
        elif name in ENDING:
            self._finish(name, event, out)
        elif self.guarded:
            self.output.take(name, event, out)
        else:
            self.teller.forward(out, event, payload)
        return [CHOICE] if self.texts.blocked and not self.blocked else []

    def _no_more(self) -> list[int]:
        if not self.over:
            raise UpstreamBroken("The upstream's answer broke off.")
        self.done = self.clean = True
        return []

    def _begin(self, name: str, event: dict[str, Any], payload: bytes, out: list[bytes]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            raise UpstreamBroken("The upstream sent an event of unknown shape.")
        changed = self.echo.mend(response, self.texts)
        if self.guarded:
            response["output"] = []
        if self.texts.blocked:
            return
        self.head = response
        self.opened.add(name)
        if changed:
            self.teller.tell(out, name, {"response": response})
        else:
            self.teller.forward(out, event, payload)

    def _finish(self, name: str, event: dict[str, Any], out: list[bytes]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            raise UpstreamBroken("The upstream sent an event of unknown shape.")
        self.echo.mend(response, self.texts)
        if self.guarded:
            response["output"] = self.output.end(response.get("output"), out)
        if self.texts.blocked:
            return
        self.ended = self.done = self.clean = True
        self.watch()
        self.teller.tell(out, name, {"response": {**response, "wardgate": self.ask.findings()}})

    def hold(self, choices: Sequence[int]) -> None:
        self.blocked = True

    def refuse(self, choices: Sequence[int], out: list[bytes]) -> None:
        self.blocked = self.done = True
        self.head = self.head or refusal.head(self.ask, self.id)
        for name in ("response.created", "response.in_progress"):
            if not self.opened:
                self.teller.tell(out, name, {"response": self.head})
        self.opened |= OPENING
        output = self.output.refuse(self.ask, out)
        ended = refusal.filtered(self.head, output)
        self.teller.tell(out, "response.incomplete", {"response": {**ended, "wardgate": self.ask.findings()}})

    def flush(self, out: list[bytes]) -> list[int]:
        """A response ends with an event of its own, or not at all."""
        return []

    def ending(self) -> bytes:
        return b""

    def without(self, data: bytes, choices: Sequence[int]) -> bytes:
        return b"".join(self._again(f + b"\n\n", bool(choices)) for f in data.split(b"\n\n") if f)

    def _again(self, held: bytes, gone: bool) -> bytes:
        if not gone and WARDGATE not in held:
            return held
        event = parse_frame(held)
        name = str(event["type"])
        if not gone and name in ENDING and "wardgate" in event["response"]:
            event["response"]["wardgate"] = self.ask.findings()
            return frame(name, orjson.dumps(event))
        if not gone or name in OPENING:
            return held
        self.ended &= name not in ENDING
        self.teller.next = min(self.teller.next, event["sequence_number"])
        self.output.untell(name, event)
        return b""

    # -- both

    def finished(self) -> frozenset[int]:
        return frozenset({CHOICE}) if self.ended and not self.blocked else frozenset()

    def tracks(self) -> Iterator[Track]:
        return self.texts.tracks()

    def untold(self) -> dict[str, str]:
        return self.texts.untold()

    def watch(self) -> None:
        if self.guarded and not self.judge.watch.idle:
            self.texts.watch()
