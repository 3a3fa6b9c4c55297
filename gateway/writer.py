"""The writing half of a stream: batches of upstream frames in, batches of judged bytes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from gateway.api.asgi import Begun
from gateway.errors import UpstreamBroken, UpstreamError, UpstreamRefused, WardgateError
from gateway.upstream.protocol import Answer
from gateway.wire import chat
from gateway.wire.chat import ChatAnswer, parse_chunk
from gateway.wire.sse import DONE, FrameReader, frame

if TYPE_CHECKING:
    from gateway.pipeline import Run


@dataclass(slots=True)
class StreamWriter:
    """Turns batches of upstream frames into batches of bytes for the client."""

    run: Run
    filter: ChatAnswer
    reader: FrameReader = field(default_factory=lambda: FrameReader(0))
    sending: Begun | None = None
    """A send that the client's slowness keeps."""
    left: bytes = b""
    """Judged, and not sent yet."""
    broken: Exception | None = None
    held: list[bytes] = field(default_factory=list)
    """Judged exactly, and waiting for the guards that score."""
    clean: bool = False
    """The upstream said `[DONE]`: its connection can serve again."""
    done: bool = False
    spoken: bool = False
    usage: bytes | None = None
    """The upstream's usage chunk."""

    async def follow(self, answer: Answer, max_frame: int) -> None:
        """The whole stream; frames that arrive together are judged and sent together."""
        self.reader = FrameReader(max_frame)
        async for data in answer.chunks():
            await self._let_go(self._judge(data))
            if self.run.started and not self.done:
                await self._pump(answer)
            if self.done:
                return
        self.reader.finish()
        await self.ended()

    async def _pump(self, answer: Answer) -> None:
        try:
            await answer.pump(self._at_once)
        except UpstreamError:
            await self._catch_up()  # what came before the fault is judged: it must be kept, and may leave
            raise
        await self._catch_up()

    def _judge(self, data: bytes) -> bytes:
        """What may leave of a piece of the stream."""
        began = self.run.clock()
        out: list[bytes] = []
        for payload in self.reader.feed(data):
            if self.done:
                break
            self._frame(payload, out)
        if self.filter.guarded:
            self.run.took(self.filter.judge, began)
            self.run.metrics.held(self.filter.held)
        return b"".join(out)

    async def _let_go(self, out: bytes) -> None:
        """Send it, once what was found in it is kept."""
        judge = self.filter.judge
        if judge.verdicts:
            self.run.exchange.verdicts += judge.verdicts
            judge.verdicts.clear()
            await self.run.record.keep(self.filter.texts(), end=False)
        if out and self.holding:
            self.held.append(out)
        elif out:
            await self.run.send_more(out)

    @property
    def holding(self) -> bool:
        """Guards that score the whole have the last word, so nothing leaves before it; `audit` lets all leave."""
        guarded = self.run.guarded
        return guarded.output.scored.acts and guarded.policy.streaming.mode != "audit"

    async def _score(self, out: list[bytes]) -> list[bytes]:
        """What may leave once the whole has been scored."""
        run, known = self.run, len(self.run.exchange.verdicts)
        blocked = [i for i in await run.score_answer(self.filter) if not self.filter.choices[i].blocked]
        fresh = run.exchange.verdicts[known:]
        if not self.holding:
            run.expose(fresh, self.filter)
            return out
        if blocked and run.guarded.policy.on_block == "error":
            raise run.filtered("The answer was blocked by the content policy.", "completion")
        out = [*self.held, *out]
        if fresh:
            out = [render_again(f, blocked, run.wardgate()) for f in b"".join(out).split(b"\n\n") if f]
        if blocked:
            out.append(
                chat.refused_frames(
                    self.filter.last, run.guarded.policy.refusal, blocked, role=True, wardgate=run.wardgate()
                )
            )
        return out

    def _at_once(self, data: bytes) -> bool:
        """Judge and send without waiting for anything. False where something must be waited for: see `_catch_up`."""
        try:
            out = self._judge(data)
        except Exception as error:  # whatever it is, it belongs to the request's own task, which raises it again
            self.broken = error
            return False
        if self.filter.judge.verdicts or self.done:
            self.left = out
            return False
        self.sending = Begun.start(self.run.send_more(out)) if out else None
        return self.sending is None

    async def _catch_up(self) -> None:
        """What `_at_once` had to leave."""
        broken, sending, left = self.broken, self.sending, self.left
        self.broken, self.sending, self.left = None, None, b""
        if broken is not None:
            raise broken
        if sending is not None:
            await sending
        await self._let_go(left)

    def _frame(self, data: bytes, out: list[bytes]) -> None:
        if data == b"[DONE]":
            self.done = self.clean = True
            return
        chunk = parse_chunk(data)
        if "error" in chunk and "choices" not in chunk:
            raise upstream_said(chunk)
        self._remember(chunk)
        changed, blocked = self.filter.feed(chunk)
        usage_only = not chunk["choices"]
        if usage_only and "usage" in chunk:  # sent at the end, after every choice
            self.usage = orjson.dumps(chunk) if changed else data
            return
        if not changed:
            self.spoken = True
            out.append(self._with_findings(chunk, data) if self._last(chunk) else frame(data))
            return
        if not empty(chunk):
            self.spoken = True
            out.append(
                self._with_findings(chunk, orjson.dumps(chunk)) if self._last(chunk) else frame(orjson.dumps(chunk))
            )
        if blocked:
            self._refuse(blocked, out)

    def _remember(self, chunk: dict[str, Any]) -> None:
        if not self.filter.last:
            keys = ("id", "object", "created", "model")
            self.filter.last = {k: chunk[k] for k in keys if k in chunk}

    def _last(self, chunk: dict[str, Any]) -> bool:
        return any(c.get("finish_reason") for c in chunk["choices"]) and self.filter.over

    def _with_findings(self, chunk: dict[str, Any], data: bytes) -> bytes:
        self._watch_end()
        fresh = self.filter.judge.verdicts
        self.run.exchange.verdicts += fresh
        wardgate = orjson.dumps(self.run.wardgate())
        del self.run.exchange.verdicts[len(self.run.exchange.verdicts) - len(fresh) :]
        return b"data: " + data.rstrip()[:-1] + b',"wardgate":' + wardgate + b"}\n\n"

    def _watch_end(self) -> None:
        if self.filter.guarded:
            self.run.watch(self.filter)

    def _refuse(self, blocked: list[int], out: list[bytes]) -> None:
        run = self.run
        wardgate = None
        if self.filter.over:
            fresh = self.filter.judge.verdicts
            run.exchange.verdicts += fresh
            wardgate = run.wardgate()
            del run.exchange.verdicts[len(run.exchange.verdicts) - len(fresh) :]
            self.done = True
        if not run.started and run.guarded.policy.on_block == "error" and self.filter.over:
            run.exchange.verdicts += self.filter.judge.verdicts
            self.filter.judge.verdicts.clear()
            raise run.filtered("The answer was blocked by the content policy.", "completion")
        out.append(
            chat.refused_frames(
                self.filter.last, run.guarded.policy.refusal, blocked, role=not self.spoken, wardgate=wardgate
            )
        )
        self.spoken = True

    async def ended(self) -> None:
        """The upstream closed without `[DONE]`: fine once every choice has ended, else the answer was cut."""
        if not self.filter.over:
            raise UpstreamBroken("The upstream's answer broke off.")

    async def finish(self) -> None:
        run = self.run
        out: list[bytes] = []
        for choice in self.filter.flush():
            chunk = {**self.filter.last, "choices": [choice]}
            if not empty(chunk):
                out.append(frame(orjson.dumps(chunk)))
            if self.filter.choices[choice["index"]].blocked:
                choice["finish_reason"] = None
                self._refuse([choice["index"]], out)
        run.exchange.verdicts += self.filter.judge.verdicts
        self.filter.judge.verdicts.clear()
        if not run.guarded.output.scored.idle:
            out = await self._score(out)
        await run.record.keep(self.filter.texts(), end=True)
        if self.usage is not None:
            out += [frame(self.usage), DONE]
        else:
            none = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
            out.append(chat.ending(self.filter.last, none if run.wants_usage() else None))
        await run.send_last(b"".join(out))


def upstream_said(chunk: dict[str, Any]) -> WardgateError:
    """An error frame in the middle of a stream."""
    error = chunk["error"]
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    message = "The upstream reported an error in the middle of its answer."
    return UpstreamRefused(
        status, {"error": {"message": message, "type": "upstream_error", "param": None, "code": "upstream_error"}}
    )


def empty(chunk: dict[str, Any]) -> bool:
    """Nothing is left in the chunk that a client would miss."""
    return not chunk.get("usage") and all(
        c.get("finish_reason") is None
        and not c.get("logprobs")
        and not any(v for k, v in (c.get("delta") or {}).items())
        for c in chunk["choices"]
    )


def render_again(held: bytes, blocked: list[int], wardgate: dict[str, Any]) -> bytes:
    """A frame that waited: without the choices that were blocked meanwhile, and with all that was found."""
    chunk = orjson.loads(held.removeprefix(b"data: "))
    known = len(chunk["choices"])
    chunk["choices"] = [c for c in chunk["choices"] if c.get("index", 0) not in blocked]
    if not chunk["choices"] and known:
        return b""
    if "wardgate" in chunk:
        chunk["wardgate"] = wardgate
    return frame(orjson.dumps(chunk))
