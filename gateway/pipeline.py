"""The path of every exchange: judge the prompt, ask the model, judge what comes, keep what was flagged, let it go.

Whatever a verdict flags is durable before the bytes that it judges leave.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.api.asgi import JSON_HEADER, STREAM_HEADERS, Headers, Send, send_bytes
from gateway.errors import (
    ContentFiltered,
    FlagNotDurable,
    InvalidRequest,
    UpstreamBroken,
    UpstreamRefused,
    WardgateError,
)
from gateway.exchange import Exchange
from gateway.metrics import Metrics
from gateway.plan import Guarded, Served
from gateway.record import Record
from gateway.scoring import WITHHELD, answer_texts, notable, prompt_texts, withheld
from gateway.upstream.protocol import Answer
from gateway.wire.arguments import Arguments
from gateway.wire.chat import parse_chunk
from gateway.wire.choice import Judge
from gateway.wire.prompt import TextSlot
from gateway.wire.surface import AnswerFilter, Ask, Wire
from gateway.writer import StreamWriter
from guards.scored import ScoredLane, Text
from guards.stream import TextFilter
from guards.verdict import RANK, Action, Stage, Verdict, strongest

MAX_ANSWER = 64 << 20
LARGE_TEXT = 100_000
"""Characters from which on a text is judged in a thread, so that other exchanges go on."""
SHOWN_FINDINGS = 100
HEADERS: dict[str, str] = {}


@dataclass(slots=True)
class Run:
    """One exchange on its way. `serve` is the whole of it."""

    wire: Wire
    exchange: Exchange
    served: Served
    record: Record
    metrics: Metrics
    send: Send
    max_frame: int
    """Bytes of the largest frame that an upstream may send."""
    started: bool = False
    """The status and headers have left."""
    status: int = 200
    clock: Callable[[], float] = time.perf_counter
    began: float = 0.0

    @property
    def guarded(self) -> Guarded:
        return self.served.guarded

    async def serve(self) -> None:
        request = self.exchange.request
        self.wire.check(request)
        await self._judge_prompt(request)
        if RANK[self.exchange.action] >= WITHHELD:
            await self.record.keep({}, end=True)
            await self._refuse_prompt(bool(request.get("stream")))
            return
        body = self._upstream_body(request)
        with await self.served.server.open(self.wire.upstream, body, HEADERS) as answer:
            if answer.status != 200:
                await self._upstream_error(answer)
            elif request.get("stream"):
                await self._stream(answer)
            else:
                await self._whole(answer)

    # -- the prompt

    async def _judge_prompt(self, request: dict[str, Any]) -> None:
        lanes = self.guarded.input
        slots = list(self.wire.slots(request)) if not (lanes.exact_idle and lanes.scored.idle) else []
        asked = prompt_texts(slots)
        if not lanes.exact_idle:
            await self._judge_exactly(request, slots)
        if not lanes.scored.idle and RANK[self.exchange.action] < WITHHELD:
            await self._score(lanes.scored, asked)

    async def _score(self, lane: ScoredLane, asked: list[Text]) -> list[Verdict]:
        """What the scoring guards found."""
        began = self.clock()
        found = notable(await lane.check(asked))
        self.spent(lane.stage, self.clock() - began)
        self.exchange.verdicts += found
        return found

    async def score_answer(self, filter_: AnswerFilter, lane: ScoredLane) -> list[Verdict]:
        """Score a whole answer."""
        return await self._score(lane, answer_texts(filter_, self.question))

    @property
    def question(self) -> str:
        return self.wire.question(self.exchange.request)

    async def _judge_exactly(self, request: dict[str, Any], slots: list[TextSlot]) -> None:
        lanes, began = self.guarded.input, self.clock()
        judge = Judge(lanes.enforced, lanes.monitored, self.guarded.folder, "input")
        if sum(len(s.text) for s in slots) > LARGE_TEXT:
            edits = await self._judge_large(judge, slots)
        else:
            edits = judge_slots(judge, slots)
        self.took(judge, began)
        self.exchange.verdicts += judge.verdicts
        if edits:
            self.record.request = orjson.loads(orjson.dumps(request))
            for slot, text in edits:
                slot.put(text)

    async def _judge_large(self, judge: Judge, slots: list[TextSlot]) -> list[tuple[TextSlot, str]]:
        """In a thread, within the longest time that a rule allows; past it every rule's `on_error` holds."""
        duties = [*judge.lane.rules, *judge.watch.rules]
        try:
            async with asyncio.timeout(max(d.timeout for d in duties)):
                return await asyncio.to_thread(judge_slots, judge, slots)
        except TimeoutError:
            judge.verdicts.clear()
            judge.fail("messages", "timeout")
            return []

    def _upstream_body(self, request: dict[str, Any]) -> bytes:
        """The request as the model server gets it: the client's own, with the model's name and the owner's prompt."""
        prompt, guarded = self.guarded.policy.system_prompt, not self.guarded.output.enforced.idle
        out = {**self.wire.for_upstream(request, prompt, guarded=guarded), "model": self.served.upstream_model}
        try:
            return orjson.dumps(out)
        except orjson.JSONEncodeError:
            raise InvalidRequest("The request is nested too deeply; 250 levels are the most.") from None

    async def _refuse_prompt(self, stream: bool) -> None:
        if self.guarded.policy.on_block == "error":
            raise self.filtered("The prompt was blocked by the content policy.", "prompt")
        if not stream:
            await self._send_whole(200, self.wire.refused(self._ask(self.wardgate)))
            return
        await self._start_stream()
        await self.send_last(self.wire.refused_stream(self._ask(self.wardgate)))

    def _ask(self, findings: Callable[[], dict[str, Any]]) -> Ask:
        policy, x = self.guarded.policy, self.exchange
        return Ask(x.request, x.id, x.model, policy.refusal, findings, policy.system_prompt is not None)

    def filtered(self, message: str, param: str) -> ContentFiltered:
        acted = [v for v in self.exchange.verdicts if RANK[v.action] >= WITHHELD]
        result = {v.category: {"filtered": True, "detected": True} for v in acted}
        return ContentFiltered(message, result=result, param=param)

    # -- the answer

    def _answer_filter(self) -> AnswerFilter:
        lanes = self.guarded.output
        judge = Judge(lanes.enforced, lanes.monitored, self.guarded.folder, "output")
        guarded = not (lanes.exact_idle and lanes.scored.idle and not self.record.flagged)
        return self.wire.answer(self._ask(lambda: self.wardgate(judge.verdicts)), judge, guarded=guarded)

    async def _whole(self, answer: Answer) -> None:
        if answer.content_type != "application/json":
            raise UpstreamBroken("The upstream's answer is not JSON; check the upstream's base_urls.")
        raw = await answer.read(MAX_ANSWER)
        answer.release()
        body = parse_chunk(raw)
        filter_ = self._answer_filter()
        began = self.clock()
        changed, blocked = filter_.whole(body)
        filter_.watch()
        self.took(filter_.judge, began)
        self.settle(filter_.judge)
        if not self.guarded.output.scored.idle:
            found = withheld(await self.score_answer(filter_, self.guarded.output.scored))
            blocked += [i for i in found if i not in blocked]
        await self.record.keep(filter_.untold(), end=True)
        if blocked and self.guarded.policy.on_block == "error":
            raise self.filtered("The answer was blocked by the content policy.", "completion")
        if blocked:
            filter_.refuse_whole(body, blocked)
        await self._send_whole(200, render(body, raw, self.wardgate(), changed=changed or bool(blocked)))

    async def _stream(self, answer: Answer) -> None:
        if answer.content_type != "text/event-stream":
            raise UpstreamBroken("The upstream answered a stream request with something else than a stream.")
        filter_ = self._answer_filter()
        stream = StreamWriter.new(self, filter_)
        try:
            await stream.follow(answer, self.max_frame)
            if filter_.clean:
                answer.release()
            else:
                answer.close()
            await stream.finish()
        except WardgateError as error:
            answer.close()
            self.record.outcome = error.code
            self.settle(filter_.judge)
            if not isinstance(error, FlagNotDurable):
                await self.record.keep(filter_.untold(), end=True)
            raise

    async def end_broken(self, error: WardgateError) -> None:
        """The status has left: an error frame says that the answer is not whole."""
        self.record.outcome = error.code
        await self.send_last(self.wire.broken(error))

    async def _upstream_error(self, answer: Answer) -> None:
        """The upstream's own status and body; what it says of the prompt is judged like an answer."""
        if answer.status < 400:
            raise UpstreamBroken(f"The upstream answered with status {answer.status} in place of an answer.")
        raw = await answer.read(1 << 20)
        answer.release()
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("error"), dict):
            message = body.get("message") if isinstance(body, dict) else None
            text = message if isinstance(message, str) else f"The upstream answered with status {answer.status}."
            kind = body.get("type") if isinstance(body, dict) else None
            body = {
                "error": {"message": text, "type": kind or "upstream_error", "param": None, "code": "upstream_error"}
            }
        text = str(body["error"].get("message", ""))
        release = TextFilter.new(self.guarded.output.enforced, self.guarded.folder).feed(text, final=True)
        if release.text != text:
            body = {"error": {**body["error"], "message": "The upstream refused the request."}}
        kept = {k: v for k in ("retry-after",) if (v := answer.headers.get(k))}
        raise UpstreamRefused(answer.status, body, headers=kept)

    # -- verdicts

    def settle(self, judge: Judge) -> None:
        """What the exact lane found belongs to the exchange from now on."""
        self.exchange.verdicts += judge.verdicts
        judge.verdicts.clear()

    def took(self, judge: Judge, began: float) -> None:
        self.spent(judge.stage, self.clock() - began)

    def spent(self, stage: Stage, seconds: float) -> None:
        self.exchange.guard_seconds += seconds
        self.metrics.judged(stage, seconds)

    def refuse(self, filter_: AnswerFilter, choices: Sequence[int], out: list[bytes]) -> None:
        """End blocked choices; ContentFiltered where an error can still say so."""
        filter_.refuse(choices, out)
        if filter_.over and not self.started and self.guarded.policy.on_block == "error":
            self.settle(filter_.judge)
            raise self.filtered("The answer was blocked by the content policy.", "completion")

    def expose(self, guard: str, chars: int) -> None:
        """So many characters left before this guard's verdict on them, which would have stopped them."""
        self.exchange.exposure[guard] = self.exchange.exposure.get(guard, 0) + chars
        self.metrics.exposed.labels(guard).inc(chars)

    def wardgate(self, fresh: Sequence[Verdict] = ()) -> dict[str, Any]:
        """The `wardgate` object of an answer, `fresh` being found but not settled yet. Monitored guards do not show."""
        found = [*self.exchange.verdicts, *fresh]
        shown = [v.finding() for v in found if v.action is not Action.ALLOW or v.error]
        action = str(strongest(found))
        return {"action": action, "policy": self.exchange.policy, "findings": shown[:SHOWN_FINDINGS]}

    # -- bytes

    def headers(self) -> Headers:
        x = self.exchange
        return [
            (b"x-request-id", x.id.encode()),
            (b"x-wardgate-policy", self.guarded.header),
            (b"x-wardgate-action", x.action.encode()),
            (b"x-wardgate-guard-ms", b"%.2f" % (x.guard_seconds * 1e3)),
        ]

    async def _send_whole(self, status: int, body: bytes) -> None:
        self.started = True
        await send_bytes(self.send, status, [JSON_HEADER, *self.headers()], body)

    async def _start_stream(self) -> None:
        self.started = True
        self.metrics.first_byte(self.exchange.model, self.clock() - self.began)
        await self.send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *self.headers()]})

    async def send_more(self, data: bytes) -> None:
        if not self.started:
            await self._start_stream()
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def send_last(self, data: bytes) -> None:
        if not self.started:
            await self._start_stream()
        await self.send({"type": "http.response.body", "body": data})


def judge_slots(judge: Judge, slots: list[TextSlot]) -> list[tuple[TextSlot, str]]:
    """Judge every text of a prompt; the texts that a guard rewrote."""
    edits: list[tuple[TextSlot, str]] = []
    for slot in slots:
        view = Arguments.read(slot.text) if slot.json else None
        text = view.text if view else slot.text
        release = judge.filter().feed(text, final=True)
        if release.decisions or release.failures:
            judge.note(release, slot.path, None)
        judge.watch_text(text, slot.path, None)
        if view and release.redacted:
            edits.append((slot, view.redact(release.decisions, judge.redacts)))
        elif release.redacted:
            edits.append((slot, release.text))
    return edits


def render(chunk: dict[str, Any], raw: bytes, wardgate: dict[str, Any], *, changed: bool) -> bytes:
    """The body with its `wardgate` object; an unchanged body keeps the upstream's bytes."""
    if changed or not chunk:
        return orjson.dumps({**chunk, "wardgate": wardgate})
    return raw.rstrip()[:-1] + b',"wardgate":' + orjson.dumps(wardgate) + b"}"
