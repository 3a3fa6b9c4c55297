"""Answers of `/v1/messages` as vLLM frames them, for the fake model server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.fakes import Reply, Request, stream

USAGE = {"input_tokens": 7, "output_tokens": 3}
Block = Mapping[str, Any]


def text(said: str, **more: Any) -> Block:
    return {"type": "text", "text": said, **more}


def thinking(said: str) -> Block:
    return {"type": "thinking", "thinking": said, "signature": "5f0c3a"}


def tool_use(name: str, arguments: Any, id: str = "toolu_1") -> Block:
    return {"type": "tool_use", "id": id, "name": name, "input": arguments}


def message(*blocks: Block, stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    """A whole answer."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "fake"}
    return head | {"content": list(blocks), "stop_reason": stop, "stop_sequence": None, "usage": USAGE} | more


def message_json(*blocks: Block, stop: str = "end_turn", **more: Any) -> bytes:
    return json.dumps(message(*blocks, stop=stop, **more)).encode()


def event(data: Mapping[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def message_start() -> bytes:
    body = message(stop="end_turn") | {"stop_reason": None, "usage": USAGE | {"output_tokens": 0}}
    return event({"type": "message_start", "message": body})


def block_start(index: int, block: Block) -> bytes:
    return event({"type": "content_block_start", "index": index, "content_block": block})


def delta(index: int, kind: str, **what: Any) -> bytes:
    return event({"type": "content_block_delta", "index": index, "delta": {"type": kind, **what}})


def block_stop(index: int) -> bytes:
    return event({"type": "content_block_stop", "index": index})


def message_end(stop: str = "end_turn", **more: Any) -> list[bytes]:
    ended = {"stop_reason": stop, "stop_sequence": None, **more}
    return [
        event({"type": "message_delta", "delta": ended, "usage": USAGE}),
        event({"type": "message_stop"}),
    ]


def pieces(said: str, size: int = 3) -> list[str]:
    return [said[i : i + size] for i in range(0, len(said), size)]


def block_frames(index: int, block: Block, parts: Sequence[str]) -> list[bytes]:
    """One block in `parts`, which are pieces of its text or of its input's JSON."""
    kind = block["type"]
    if kind == "text":
        deltas = [delta(index, "text_delta", text=p) for p in parts]
        deltas += [delta(index, "citations_delta", citation=c) for c in block.get("citations") or ()]
        return [block_start(index, text("")), *deltas, block_stop(index)]
    if kind == "thinking":
        deltas = [delta(index, "thinking_delta", thinking=p) for p in parts]
        signed = delta(index, "signature_delta", signature=block["signature"])
        return [block_start(index, {"type": "thinking", "thinking": ""}), *deltas, signed, block_stop(index)]
    if kind == "tool_use":
        deltas = [delta(index, "input_json_delta", partial_json=p) for p in parts]
        return [block_start(index, {**block, "input": {}}), *deltas, block_stop(index)]
    return [block_start(index, block), block_stop(index)]


def spelled(block: Block) -> str:
    """What the deltas of a block spell."""
    kind = block["type"]
    return json.dumps(block["input"]) if kind == "tool_use" else str(block.get(kind, ""))


def message_frames(*blocks: Block, stop: str = "end_turn", size: int = 3) -> list[bytes]:
    """A streamed answer, in pieces of `size` characters."""
    frames = [message_start(), event({"type": "ping"})]
    for index, block in enumerate(blocks):
        frames += block_frames(index, block, pieces(spelled(block), size))
    return [*frames, *message_end(stop)]


def saying(*blocks: Block, stop: str = "end_turn", gap: float = 0.0) -> Any:
    """A script: these blocks for every request, streamed or not, and a count of tokens."""

    def reply(request: Request) -> Reply:
        if request.path.endswith("count_tokens"):
            return Reply([json.dumps({"input_tokens": 11, "context_management": None}).encode()])
        if request.body.get("stream"):
            return stream(message_frames(*blocks, stop=stop), gap=gap)
        return Reply([message_json(*blocks, stop=stop)])

    return reply
