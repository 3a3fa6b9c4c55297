"""`/v1/chat/completions` under attack: every carrier of every choice, in frames of any order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.wire.chat import ChatWire
from gateway.wire.logprobs import SPECIAL
from gateway.wire.surface import Wire
from tests.gateway.wire.attacks.chance import Chance, bare
from tests.gateway.wire.attacks.oracle import APART, Carrier, Mode, payloads_of, strings

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "fake"}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
TOP = frozenset({*HEAD, "choices", "usage", "wardgate"})
Step = dict[str, Any]
"""What one frame says of a choice."""


@dataclass
class ChatAttack:
    """Implements `Attack`."""

    chance: Chance
    choices: list[list[Step]] = field(default_factory=list)
    wire: Wire = field(default_factory=ChatWire)
    contradicts: bool = False
    early: bool = False
    """A choice goes on after its end."""

    def __post_init__(self) -> None:
        self.choices = [self.steps() for _ in range(self.chance.r.choice((1, 1, 2, 3)))]

    def request(self) -> dict[str, Any]:
        return {"messages": [], "n": len(self.choices), "stream_options": {"include_usage": True}}

    # -- what the model says

    def steps(self) -> list[Step]:
        c = self.chance
        said = [self.written("content", logged=c.often(0.5))]
        said += [self.written(name) for name in ("reasoning", "refusal", "mood") if c.often(0.25)]
        said += [self.details()] if c.often(0.15) else []
        said += [self.calls()] if c.often(0.3) else []
        said += [[{"delta": {"function_call": call}} for call in self.call()]] if c.often(0.1) else []
        said += [[{"delta": {"annotations": [self.nested()]}}]] if c.often(0.15) else []
        said += [[{"delta": {}, "aside": c.text()}]] if c.often(0.1) else []
        return c.mixed(*said)

    def written(self, name: str, *, logged: bool = False) -> list[Step]:
        c = self.chance
        pieces = c.cut(c.text())
        return [{"delta": {name: p}, **({"logprobs": self.logprobs(p)} if logged else {})} for p in pieces]

    def details(self) -> list[Step]:
        c = self.chance
        return [{"delta": {"details": [{"type": "reasoning.text", "text": p}]}} for p in c.cut(c.text())]

    def logprobs(self, piece: str) -> dict[str, Any]:
        return {"content": [self.chance.entry(token) for token in self.chance.tokens(piece)]}

    def calls(self) -> list[Step]:
        c = self.chance
        each = [[{"index": i, "function": f} for f in self.call()] for i in range(c.r.choice((1, 1, 2)))]
        return [{"delta": {"tool_calls": [call]}} for call in c.mixed(*each)]

    def call(self) -> list[dict[str, str]]:
        c = self.chance
        names = [{"name": p} for p in c.cut(c.text(1) or "f")]
        return [*names, *({"arguments": p} for p in c.cut(c.json(c.text())))]

    def nested(self) -> dict[str, Any]:
        c = self.chance
        return {"type": "url_citation", "url_citation": {"title": c.text(), "at": [c.text(1), 1]}}

    # -- how the upstream says it

    def stream(self) -> list[bytes]:
        c = self.chance
        each = [[self.framed(i, step) for step in self.ended(steps)] for i, steps in enumerate(self.choices)]
        chunks: list[Any] = []
        for choice in c.mixed(*each):
            if chunks and c.often(0.2) and all(x["index"] != choice["index"] for x in chunks[-1]["choices"]):
                chunks[-1]["choices"].append(choice)
            else:
                chunks.append({**HEAD, "choices": [choice]})
        for chunk in chunks:
            if c.often(0.03):
                chunk["note"] = c.text() if c.often(0.5) else {"x": [c.text()]}
        for _ in range(c.r.choice((0, 0, 1, 2))):
            chunks.insert(c.r.randint(0, len(chunks)), {**HEAD, "choices": [], "usage": USAGE})
        done = [] if c.often(0.1) else [b"[DONE]"]
        return [*(written(chunk, c) for chunk in chunks), *done]

    def framed(self, index: int, step: Step) -> Step:
        return {"index": index, "finish_reason": None, **step}

    def ended(self, steps: list[Step]) -> list[Step]:
        """The end with the last text, after it, not at all, or too early."""
        c, how = self.chance, self.chance.r.random()
        if how < 0.3 and steps:
            return [*steps[:-1], {**steps[-1], "finish_reason": "stop"}]
        if how < 0.9:
            return [*steps, {"delta": {}, "finish_reason": "stop"}]
        if how < 0.95:
            return steps
        at, self.early = c.r.randint(0, len(steps)), True
        return [*steps[:at], {"delta": {}, "finish_reason": "stop"}, *steps[at:]]

    def body(self) -> dict[str, Any] | None:
        if self.early:
            return None
        return {**HEAD, "choices": [self.whole(i, steps) for i, steps in enumerate(self.choices)], "usage": USAGE}

    def whole(self, index: int, steps: Sequence[Step]) -> dict[str, Any]:
        """The same choice, said at once."""
        return whole(index, steps)

    # -- what is read

    def read(self, payloads: Sequence[Any], *, sent: bool) -> Mapping[Carrier, Sequence[str]]:
        said: dict[Carrier, list[str]] = {}
        ended: set[int] = set()
        for chunk in payloads:
            for choice in chunk.get("choices", ()):
                if sent and choice["index"] in ended:
                    continue
                self.read_choice(choice, said, sent=sent)
                ended |= {choice["index"]} if choice["finish_reason"] else set()
            for name in chunk.keys() - TOP - {"error"}:
                said.setdefault(Carrier(APART, name, Mode.ASIDE), []).extend(texts_of(chunk[name]))
        return said

    def read_whole(self, body: dict[str, Any]) -> Mapping[Carrier, Sequence[str]]:
        said: dict[Carrier, list[str]] = {}
        for choice in body["choices"]:
            self.read_choice(choice, said, sent=False)
        return said

    def read_choice(self, choice: Mapping[str, Any], said: dict[Carrier, list[str]], *, sent: bool) -> None:
        read_choice(choice, said, sent=sent)

    def check_form(self, frames: Sequence[bytes], *, broken: bool) -> set[int]:
        return check_chunks(frames, broken=broken)


def whole(index: int, steps: Sequence[Step]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    out: dict[str, Any] = {"index": index, "message": message, "finish_reason": "stop", "logprobs": None}
    for step in steps:
        for name, value in step["delta"].items():
            if name == "tool_calls":
                for call in value:
                    calls = message.setdefault("tool_calls", [])
                    calls += [{"index": i, "function": {}} for i in range(len(calls), call["index"] + 1)]
                    grow(calls[call["index"]]["function"], call["function"])
            elif name == "function_call":
                grow(message.setdefault(name, {}), value)
            elif isinstance(value, str):
                message[name] = message.get(name, "") + value
            elif name == "details":
                grow(message.setdefault(name, [{"text": ""}])[0], {"text": value[0]["text"]})
            else:
                message.setdefault(name, []).extend(value)
        if step.get("logprobs"):
            out["logprobs"] = out["logprobs"] or {"content": []}
            out["logprobs"]["content"] += step["logprobs"]["content"]
        if "aside" in step:
            out["aside"] = step["aside"]
    calls = message.get("tool_calls", [])
    message["tool_calls"] = [c for c in calls if c["function"]]
    return out


def grow(node: dict[str, Any], more: Mapping[str, str]) -> None:
    for key, value in more.items():
        node[key] = node.get(key, "") + value


def read_choice(choice: Mapping[str, Any], said: dict[Carrier, list[str]], *, sent: bool) -> None:
    index, node = choice["index"], choice.get("delta", choice.get("message")) or {}

    def add(name: str, text: str, mode: Mode = Mode.GROWING) -> None:
        said.setdefault(Carrier(index, name, mode), []).append(text)

    for name, value in node.items():
        if isinstance(value, str) and name != "role":
            add(name, value)
        elif name == "tool_calls":
            for i, call in enumerate(value or ()):
                read_call(call["function"], f"call {call.get('index', i)}", add)
        elif name == "function_call" and value:
            read_call(value, name, add)
        elif name == "details":
            for each in value:
                add(name, each["text"], Mode.PIECES)
        elif isinstance(value, list | dict):
            for text in texts_of(value):
                add(name, text, Mode.EACH)
    if "aside" in choice:
        add("aside", choice["aside"], Mode.EACH)
    for entry in (choice.get("logprobs") or {}).get("content") or ():
        read_entry(entry, index, said, sent=sent)


def read_call(function: Mapping[str, str], where: str, add: Any) -> None:
    if "name" in function:
        add(f"{where} name", function["name"])
    if "arguments" in function:
        add(f"{where} arguments", function["arguments"], Mode.JSON)


def read_entry(entry: Mapping[str, Any], index: int, said: dict[Carrier, list[str]], *, sent: bool) -> None:
    """Alternatives may be seen where no guard minds; a token only where it has been said, and nothing else at all."""
    others = said.setdefault(Carrier(index, "alternatives", Mode.SEEN), [])
    others += [other["token"] for other in entry["top_logprobs"]]
    if sent:
        return
    assert entry.keys() <= {"token", "logprob", "bytes", "top_logprobs"}
    token = entry["token"]
    if not SPECIAL.fullmatch(token):
        texts = ["".join(pieces) for carrier, pieces in said.items() if carrier.choice == index]
        assert stripped(token) in stripped("\0".join(texts)), "a token left that no text spells"
    said.setdefault(Carrier(index, "tokens", Mode.SEEN), []).append(token)
    assert bare(bytes(entry["bytes"] or b"").decode()) in bare(token)


def stripped(text: str) -> str:
    return "".join(text.split()).replace("▁", "")


def texts_of(node: Any) -> list[str]:
    return [node] if isinstance(node, str) else [s for s in strings(node) if s not in KEYS]


KEYS = frozenset({"type", "url_citation", "title", "at", "x"})


def check_chunks(frames: Sequence[bytes], *, broken: bool) -> set[int]:
    """Choices that end, end once, and say nothing more; usage and `[DONE]` come last."""
    assert frames[-1] == b"data: [DONE]"
    chunks = payloads_of(frames)
    ends: dict[int, str] = {}
    for at, chunk in enumerate(chunks):
        if "error" in chunk:
            assert broken
            assert at == len(chunks) - 1
            continue
        assert chunk["choices"] or at == len(chunks) - 1
        for choice in chunk["choices"]:
            assert choice["index"] not in ends
            if choice["finish_reason"]:
                ends[choice["index"]] = choice["finish_reason"]
    assert broken or "usage" in chunks[-1]
    return {index for index, reason in ends.items() if reason == "content_filter"}


def written(chunk: dict[str, Any], chance: Chance) -> bytes:
    """As servers write JSON: some escape, some leave blanks, one says a key twice."""
    how = chance.r.random()
    if how < 0.5:
        return orjson.dumps(chunk)
    if how < 0.97:
        return json.dumps(chunk).encode()
    return b'{"id":' + json.dumps(chance.secret()).encode() + b"," + orjson.dumps(chunk)[1:]
