"""The writing half of a stream: batches of upstream frames in, batches of judged bytes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.api.asgi import Begun
from gateway.errors import UpstreamBroken, UpstreamError
from gateway.gate import Gate
from gateway.scoring import withheld
from gateway.upstream.protocol import Answer
from gateway.wire.sse import FrameReader
from gateway.wire.surface import AnswerFilter

if TYPE_CHECKING:
    from gateway.pipeline import Run


@dataclass(slots=True)
class StreamWriter:
    """Turns batches of upstream frames into batches of bytes for the client."""

    run: Run
    filter: AnswerFilter
    gate: Gate | None = None
    """Between the exact lane and the client, where guards that score act before text leaves."""
    reader: FrameReader = field(default_factory=lambda: FrameReader(0))
    sending: Begun | None = None
    """A send that the client's slowness keeps."""
    left: bytes | None = None
    """Judged, and not sent yet."""
    broken: Exception | None = None

    @classmethod
    def new(cls, run: Run, filter_: AnswerFilter) -> StreamWriter:
        scored, streaming = run.guarded.output.scored, run.guarded.policy.streaming
        if run.holding is not None:
            run.holding.filter = filter_
        if streaming.mode == "audit" or not scored.acts:
            return cls(run, filter_)
        gate = Gate(run, filter_, scored.acting(), streaming.slack or 0, run.question)
        return cls(run, filter_, gate)

    async def follow(self, answer: Answer, max_frame: int) -> None:
        """The whole stream but for its ending; frames that arrive together are judged and sent together."""
        self.reader = FrameReader(max_frame)
        if self.gate is None:
            await self._read(answer)
        else:
            await self.gate.around(self._read(answer))

    async def _read(self, answer: Answer) -> None:
        async for data in answer.chunks():
            await self._let_go(self._judge(data))
            if (self.run.sender.started or self.gate is not None) and not self.filter.done:
                await self._pump(answer)
            if self.filter.done:
                break
        else:
            self.reader.finish()
            self._check_end()
        await self._flush()

    def _check_end(self) -> None:
        """The upstream closed without saying so: fine once every choice has ended, else the answer was cut."""
        if not self.filter.over:
            raise UpstreamBroken("The upstream's answer broke off.")

    async def _pump(self, answer: Answer) -> None:
        try:
            await answer.pump(self._at_once)
        except UpstreamError:
            await self._catch_up()  # what came before the fault is judged: it must be kept, and may leave
            raise
        await self._catch_up()

    def _judge(self, data: bytes) -> bytes:
        """What may leave of a piece of the stream."""
        began = self.run.judging.clock()
        out: list[bytes] = []
        for payload in self.reader.feed(data):
            if self.filter.done:
                break
            if self.run.usage is not None and self.run.usage.keeps(payload):
                continue
            if (holding := self.run.holding) is not None:
                holding.hear(payload)
                if holding.deaf(self.filter, payload):
                    continue
            blocked = self.filter.frame(payload, out)
            if blocked:
                self.run.refuse(self.filter, blocked, out)
        if self.filter.guarded:
            self.run.judging.took(self.filter.judge, began)
            self.run.judging.metrics.held(self.filter.held)
        return b"".join(out)

    async def _let_go(self, out: bytes) -> None:
        """Send it, once what was found in it is kept."""
        if self.filter.judge.verdicts:
            self.run.judging.settle(self.filter.judge)
            await self.run.record.keep(self.filter.untold(), end=False)
        if self.gate is not None:
            self.gate.put(out)
            await self.gate.room.wait()
        elif out:
            await self.run.sender.more(out)

    def _at_once(self, data: bytes) -> bool:
        """Judge and send without waiting for anything. False where something must be waited for: see `_catch_up`."""
        try:
            out = self._judge(data)
        except Exception as error:  # whatever it is, it belongs to the request's own task, which raises it again
            self.broken = error
            return False
        if self.filter.judge.verdicts or self.filter.done or (self.gate is not None and self.gate.full):
            self.left = out
            return False
        if self.gate is not None:
            self.gate.put(out)
            return True
        self.sending = Begun.start(self.run.sender.more(out)) if out else None
        return self.sending is None

    async def _catch_up(self) -> None:
        """What `_at_once` had to leave."""
        broken, sending, left = self.broken, self.sending, self.left
        self.broken, self.sending, self.left = None, None, None
        if broken is not None:
            raise broken
        if sending is not None:
            await sending
        if left is not None:
            await self._let_go(left)

    async def _flush(self) -> None:
        """Judge what the upstream left without an end."""
        out: list[bytes] = []
        blocked = self.filter.flush(out)
        if blocked:
            self.run.refuse(self.filter, blocked, out)
        await self._let_go(b"".join(out))

    async def finish(self) -> None:
        """All text has left: what looks on says its word, the record ends, and the stream with it."""
        run, scored = self.run, self.run.guarded.output.scored
        late = scored.without({r.duty.name for r in self.gate.rules.rules}) if self.gate else scored
        if not late.idle:
            for v in await run.score_answer(self.filter, late):
                if v.choice in withheld([v], run.guarded.floor):
                    run.judging.expose(
                        v.guard, sum(t.written.size for t in self.filter.tracks() if t.choice == v.choice)
                    )
        if run.holding is not None:
            if run.holding.choices:
                await run.holding.finish(self.filter)
                return
            await run.holding.mention(self.filter)
        await run.record.keep(self.filter.untold(), end=True)
        await run.sender.last(self.filter.ending())
