"""An answer from `/v1/messages`: upstream events in, events that may leave out; or one whole message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.errors import UpstreamBroken
from gateway.wire import messages_frames as frames
from gateway.wire.chat_frames import parse_chunk, upstream_said
from gateway.wire.judge import Judge
from gateway.wire.messages_block import CARRIERS, BlockFilter, Texts
from gateway.wire.messages_frames import event, named
from gateway.wire.surface import Ask, Track

SANE_NAME = re.compile(r"[a-z_]{1,64}")
PLAIN = frozenset(
    {"id", "type", "role", "model", "content", "usage", "stop_reason", "kv_transfer_params", "ec_transfer_params"}
)
"""Keys of a message that hold no text of the model, or are judged by themselves."""
OF_EVENT = frozenset({"type", "index", "content_block", "delta", "message", "usage"})
OF_DELTA = frozenset({"stop_reason"})
UNKNOWN_SHAPE = "The upstream sent an event of unknown shape."


@dataclass(slots=True)
class MessagesAnswer:
    """Implements `AnswerFilter`. The one choice of a message is 0."""

    ask: Ask
    judge: Judge
    guarded: bool = True
    done: bool = False
    clean: bool = False
    texts: Texts = field(init=False)
    block: BlockFilter | None = None
    """The block that the upstream is writing; blocks come one after the other."""
    count: int = 0
    """Blocks that the upstream has begun."""
    shown: int = 0
    """Blocks that the client has seen begin."""
    showing: int | None = None
    """The block of which the client has not seen the end."""
    begun: bool = False
    ended: bool = False
    """The upstream said why it stopped."""
    watched: bool = False
    closed: bool = False
    """The end of the message was written, the model's own or a refusal, and has not been taken back."""
    rewound: bool = False
    """Frames were taken back: `shown` and `showing` tell what is left of them."""
    usage: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.texts = Texts(self.judge)

    @property
    def over(self) -> bool:
        return self.ended or self.texts.blocked

    @property
    def held(self) -> int:
        return self.block.held if self.block else 0

    # -- whole answers

    def whole(self, body: dict[str, Any]) -> tuple[bool, list[int]]:
        content = body.get("content")
        if body.get("type") != "message" or not isinstance(content, list):
            raise UpstreamBroken("The upstream sent a message of unknown shape.")
        self.ended = True
        if not self.guarded:
            return False, []
        changed = False
        for index, node in enumerate(content):
            changed |= BlockFilter.new(index, node, self.texts).open(node, final=True)
        changed |= self.texts.rest(body, "", PLAIN)
        return changed or self.judge.withholds, self._blocked()

    def _blocked(self) -> list[int]:
        return [0] if self.texts.blocked else []

    def refuse_whole(self, body: dict[str, Any], choices: Iterable[int]) -> None:
        kept = {k: v for k, v in body.items() if k in ("id", "model", "usage")}
        body.clear()
        body.update(frames.refused("", self.ask) | kept)

    # -- streams

    def frame(self, payload: bytes, out: list[bytes]) -> list[int]:
        data = parse_chunk(payload)
        kind = data.get("type")
        if kind == "error":
            raise upstream_said(data)
        if kind == "ping":
            out.append(frames.PING)
        elif kind == "message_stop":
            self._stop()
        elif not self.guarded:
            self._follow(data, payload, out)
        elif kind == "content_block_delta":
            self._delta(data, payload, out)
        elif kind == "content_block_start":
            self._start_block(data, out)
        elif kind == "content_block_stop":
            self._stop_block(data, out)
        elif kind == "message_start":
            self._start(data, out)
        elif kind == "message_delta":
            self._end(data, out)
        else:
            raise UpstreamBroken("The upstream sent an event of a type that no guard can judge.")
        return self._blocked()

    def _stop(self) -> None:
        if not self.ended:
            raise UpstreamBroken("The upstream's answer ended without a reason.")
        self.done = self.clean = True

    def _follow(self, data: dict[str, Any], payload: bytes, out: list[bytes]) -> None:
        """No guard looks on: any event passes, with its findings where it is the last."""
        kind = data.get("type")
        if not isinstance(kind, str) or not SANE_NAME.fullmatch(kind):
            raise UpstreamBroken(UNKNOWN_SHAPE)
        if kind == "message_delta":
            self.ended = True
            data["wardgate"] = self.ask.findings()
        out.append(event(data) if kind == "message_delta" or b"\n" in payload else named(kind, payload))

    def _start(self, data: dict[str, Any], out: list[bytes]) -> None:
        message = data.get("message")
        if self.begun or not isinstance(message, dict) or message.get("content") not in ([], None):
            raise UpstreamBroken(UNKNOWN_SHAPE)
        self.begun = True
        self._count(message.get("usage"))
        self.texts.rest(message, "", PLAIN)
        self._others(data, "")
        out.append(event(data))

    def _count(self, usage: object) -> None:
        self.usage |= usage if isinstance(usage, dict) else {}

    def _others(self, data: dict[str, Any], path: str) -> bool:
        """Judge what stands in an event beside what all events of its kind have."""
        return not OF_EVENT.issuperset(data) and self.texts.rest(data, path, OF_EVENT)

    def _start_block(self, data: dict[str, Any], out: list[bytes]) -> None:
        node = data.get("content_block")
        if not self.begun or self.ended or self.block is not None or data.get("index") != self.count:
            raise UpstreamBroken(UNKNOWN_SHAPE)
        block = self.block = BlockFilter.new(self.count, node, self.texts)
        self.count += 1
        self._others(data, block.path)
        if block.calls:
            block.start = data
        elif isinstance(node, dict):
            block.open(node)
            self._show(data, out)

    def _show(self, data: dict[str, Any], out: list[bytes]) -> None:
        if data["type"] == "content_block_start":
            self.shown, self.showing = data["index"] + 1, data["index"]
        out.append(event(data))

    def _open(self, data: dict[str, Any]) -> BlockFilter:
        """The open block, which an event must be of."""
        if self.block is None or data.get("index") != self.block.index:
            raise UpstreamBroken(UNKNOWN_SHAPE)
        return self.block

    def _delta(self, data: dict[str, Any], payload: bytes, out: list[bytes]) -> None:
        block, delta = self._open(data), data.get("delta")
        if not isinstance(delta, dict):
            raise UpstreamBroken(UNKNOWN_SHAPE)
        changed = self._others(data, block.path) | block.delta(delta)
        if not changed and not self.texts.blocked:
            as_it_came = not self.judge.withholds and b"\n" not in payload
            out.append(named("content_block_delta", payload) if as_it_came else event(data))
        elif any(delta.get(name) for name in CARRIERS) or ("citation" in delta and not self.texts.blocked):
            self._show(data, out)

    def _stop_block(self, data: dict[str, Any], out: list[bytes]) -> None:
        self._open(data)
        self._close(out)

    def _close(self, out: list[bytes]) -> None:
        """End the open block: what it held leaves before its end."""
        block, self.block = self.block, None
        if block is None:
            return
        for data in block.close():
            self._show(data, out)
        if not self.texts.blocked:
            self.showing = None
            out.append(frames.block_stop(block.index))

    def _end(self, data: dict[str, Any], out: list[bytes]) -> None:
        delta = data.get("delta")
        if not self.begun or not isinstance(delta, dict):
            raise UpstreamBroken(UNKNOWN_SHAPE)
        self._close(out)
        self._count(data.get("usage"))
        self.texts.rest(delta, "", OF_DELTA)
        self._others(data, "")
        if self.texts.blocked:
            return
        self.ended = self.closed = True
        self.watch()
        out.append(event({**data, "wardgate": self.ask.findings()}))

    def hold(self, choices: Sequence[int]) -> None:
        self.texts.blocked = True

    def refuse(self, choices: Sequence[int], out: list[bytes]) -> None:
        self.texts.blocked = self.done = True
        if self.closed:
            return
        # SDKs parse the JSON of a block that has stopped, and raise a parser's error where it was cut
        if self.showing is not None and not frames.structured(self.ask.request):
            out.append(frames.block_stop(self.showing))
        usage = {"output_tokens": 0, **self.usage}
        out.append(frames.refusal(self.shown, self.ask, usage))
        self.shown, self.showing, self.closed, self.rewound = self.shown + 1, None, True, False

    def flush(self, out: list[bytes]) -> list[int]:
        return []  # a stream that left anything without an end is broken

    def ending(self) -> bytes:
        return frames.STOP

    def without(self, data: bytes, choices: Sequence[int]) -> bytes:
        return b"".join(self._again(f, gone=0 in choices) for f in data.split(b"\n\n") if f)

    def _again(self, held: bytes, *, gone: bool) -> bytes:
        data = orjson.loads(held.partition(b"\ndata: ")[2])
        if gone and data["type"] not in ("message_start", "ping"):
            self._take_back(data)
            return b""
        if "wardgate" in data:
            return event({**data, "wardgate": self.ask.findings()})
        return held + b"\n\n"

    def _take_back(self, data: dict[str, Any]) -> None:
        """A frame does not reach the client after all; the first that does not says where it stands."""
        self.closed = False
        if self.rewound:
            return
        self.rewound = True
        if data["type"] == "content_block_start":
            self.shown, self.showing = data["index"], None
        elif "index" in data:
            self.shown, self.showing = data["index"] + 1, data["index"]

    # -- both

    def finished(self) -> frozenset[int]:
        return frozenset({0} if self.ended and not self.texts.blocked else ())

    def tracks(self) -> Iterator[Track]:
        return (Track(0, path, written) for path, written in self.texts.raw.items())

    def untold(self) -> dict[str, str]:
        return dict(self.texts.untold())

    def watch(self) -> None:
        if self.guarded and not self.watched:
            self.watched = True
            self.texts.watch()
