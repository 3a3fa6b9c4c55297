"""The path of every exchange: judge the prompt, ask the model, judge what comes, keep what was flagged, let it go.

Whatever a verdict flags is durable before the bytes that it judges leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from gateway.api.asgi import encode_headers
from gateway.complaining import complained
from gateway.errors import (
    ContentFiltered,
    FlagNotDurable,
    InvalidRequest,
    RequestError,
    UpstreamBroken,
    WardgateError,
)
from gateway.exchange import Exchange
from gateway.holding import Holding
from gateway.judging import Judging
from gateway.plan import Guarded, Served
from gateway.prompting import FORESEEN, Prompt
from gateway.record import Record
from gateway.scoring import answer_texts, withheld
from gateway.sender import Sender, render
from gateway.tokens import Usage
from gateway.upstream.protocol import Answer
from gateway.wire.calls import CallJudge
from gateway.wire.chat_frames import parse_chunk
from gateway.wire.judge import Judge
from gateway.wire.media import media_of
from gateway.wire.spotlight import spotlit
from gateway.wire.surface import AnswerFilter, Ask, Wire
from gateway.writer import StreamWriter
from guards.scored import ScoredLane
from guards.verdict import Action, Verdict

MAX_ANSWER = 64 << 20
TEXTLESS = frozenset({"application/json", "application/octet-stream"})
HANDED_ON = ("content-type", "metadata")
"""Headers of an answer without text: `metadata` is vLLM's, and says how its bytes are to be read."""
HEADERS: dict[str, str] = {}


@dataclass(slots=True)
class Run:
    """One exchange on its way. `serve` is the whole of it."""

    wire: Wire
    served: Served
    judging: Judging
    sender: Sender
    max_frame: int
    """Bytes of the largest frame that an upstream may send."""
    usage: Usage | None = None
    """Counts tokens, where the tenant has a limit of them."""
    prompt: Prompt | None = None
    """Where it was read before the request was admitted."""
    holding: Holding | None = None
    """Where the policy may want a person to look at the answer."""
    lot: float | None = None
    """The exchange was drawn to be looked at, with this probability."""
    notice: str = ""
    """What stands in the place of an answer that waits."""

    @property
    def guarded(self) -> Guarded:
        return self.served.guarded

    @property
    def exchange(self) -> Exchange:
        return self.judging.exchange

    @property
    def record(self) -> Record:
        return self.judging.record

    async def serve(self) -> None:
        request = self.exchange.request
        self.wire.check(request)
        await self._judge_prompt(request)
        filter_, waits = self._answer_filter(), self.holding is not None and self.judging.escalated
        if (self.judging.withheld and (filter_ is None or not waits)) or (self.judging.escalated and not self.holding):
            await self.record.keep({}, end=True)
            await self._refuse_prompt(bool(request.get("stream")))
            return
        body = self._upstream_body(request)
        with await self.served.server.open(self.wire.upstream, body, HEADERS) as answer:
            if answer.status != 200:
                await complained(answer, self.guarded)
            elif filter_ is None:
                await self._hand_on(answer)
            elif self.judging.withheld and self.holding is not None:
                await self.holding.prompt(answer, filter_)
            elif request.get("stream"):
                await self._stream(answer, filter_)
            else:
                await self._whole(answer, filter_)

    # -- the prompt

    def foresee(self) -> None:
        """Ask the verdict cache before the request is admitted: both questions share a round trip."""
        request, lane = self.exchange.request, self.guarded.input.scored
        if lane.remembers:
            with suppress(RequestError):  # `serve` says so, to a request that was counted
                self.wire.check(request)
                slots = list(islice(self.wire.slots(request), FORESEEN + 1))
                self.prompt = Prompt.of(slots, lane) if len(slots) <= FORESEEN else None

    async def _judge_prompt(self, request: dict[str, Any]) -> None:
        """MediaRefused where the policy does not let one of them through."""
        refusal = await self.judging.media(list(media_of(request)))
        if refusal is not None:
            raise refusal
        waits = self.holding is not None and self.holding.keeps
        lanes = self.guarded.passing if waits else self.guarded.input
        if lanes.exact_idle and lanes.scored.idle:
            return
        prompt = self.prompt or Prompt.of(list(self.wire.slots(request)), lanes.scored)
        if not lanes.exact_idle:
            await self.judging.exactly(lanes, "input", prompt.slots)
        over = self.exchange.action is Action.BLOCK if waits else self.judging.withheld
        if not lanes.scored.idle and not over:
            await self.judging.score(lanes.scored, prompt.asked, prompt.recall)

    async def score_answer(self, filter_: AnswerFilter, lane: ScoredLane) -> list[Verdict]:
        """Score a whole answer."""
        return await self.judging.score(lane, answer_texts(filter_, self.question))

    @property
    def question(self) -> str:
        return self.wire.question(self.exchange.request)

    def _upstream_body(self, request: dict[str, Any]) -> bytes:
        """The request as the model server gets it: the client's own, with the model's name and the owner's prompt."""
        policy, guarded = self.guarded.policy, not self.guarded.output.enforced.idle
        request, prompt = spotlit(request, policy.system_prompt, policy.spotlight)
        out = {**self.wire.for_upstream(request, prompt, guarded=guarded), "model": self.served.upstream_model}
        if self.usage is not None:
            self.usage.ask(self.wire.upstream, out)
        try:
            return orjson.dumps(out)
        except orjson.JSONEncodeError:
            raise InvalidRequest("The request is nested too deeply; 250 levels are the most.") from None

    async def _refuse_prompt(self, stream: bool) -> None:
        if self.guarded.policy.on_block == "error":
            raise self.filtered("The prompt was blocked by the content policy.", "prompt")
        if stream:
            await self.sender.last(self.wire.refused_stream(self.ask()))
        else:
            await self.sender.whole(self.wire.refused(self.ask()))

    def ask(self, findings: Callable[[], dict[str, Any]] | None = None) -> Ask:
        policy, x = self.guarded.policy, self.exchange
        hides = policy.system_prompt is not None
        return Ask(
            x.request, x.id, x.model, lambda: self.notice or policy.refusal, findings or self.judging.findings, hides
        )

    def filtered(self, message: str, param: str) -> ContentFiltered:
        result = {category: {"filtered": True, "detected": True} for category in self.judging.categories()}
        return ContentFiltered(message, result=result, param=param)

    # -- the answer

    def _answer_filter(self) -> AnswerFilter | None:
        lanes = self.guarded.output
        calls = CallJudge(lanes.calls, self.exchange.request)
        acts, folder = lanes.scored.acts, self.guarded.folder
        judge = Judge(
            lanes.enforced, lanes.monitored, folder, "output", calls=calls, scored=acts, floor=self.guarded.floor
        )
        guarded = not (lanes.exact_idle and lanes.scored.idle and not self.record.flagged)
        return self.wire.answer(self.ask(lambda: self._findings(judge)), judge, guarded=guarded)

    def _findings(self, judge: Judge) -> dict[str, Any]:
        if self.holding is not None:
            self.holding.promise(judge.verdicts)
        return self.judging.findings(judge.verdicts)

    async def _hand_on(self, answer: Answer) -> None:
        """An answer without text."""
        if answer.content_type not in TEXTLESS:
            raise UpstreamBroken("The upstream's answer is of an unknown type; check the upstream's base_urls.")
        raw = await answer.read(MAX_ANSWER)
        kept = encode_headers((k, v) for k in HANDED_ON if (v := answer.headers.get(k)))
        answer.release()
        if self.usage is not None and answer.content_type == "application/json":
            self.usage.see(parse_chunk(raw))
        await self.record.keep({}, end=True)
        await self.sender.whole(raw, kept)

    async def _whole(self, answer: Answer, filter_: AnswerFilter) -> None:
        raw = await self.read_whole(answer)
        body = parse_chunk(raw)
        changed, blocked = await self.judge_whole(body, filter_)
        if blocked and self.holding is not None and self.judging.escalated:
            await self.holding.whole(parse_chunk(raw), filter_, stream=False)
            return
        if self.holding is not None:
            await self.holding.mention(filter_)
        await self.record.keep(filter_.untold(), end=True)
        if blocked:
            await self.refuse_whole(body, filter_, blocked, stream=False)
            return
        await self.sender.whole(render(body, raw, self.judging.findings(), changed=changed))
        await self._sampled(filter_)

    async def read_whole(self, answer: Answer) -> bytes:
        if answer.content_type != "application/json":
            raise UpstreamBroken("The upstream's answer is not JSON; check the upstream's base_urls.")
        raw = await answer.read(MAX_ANSWER)
        answer.release()
        if self.usage is not None:
            self.usage.see(parse_chunk(raw))
        return raw

    async def judge_whole(self, body: dict[str, Any], filter_: AnswerFilter) -> tuple[bool, list[int]]:
        """Filter an answer in place: whether it changed, and the choices that are blocked."""
        began = self.judging.clock()
        changed, blocked = filter_.whole(body)
        filter_.watch()
        self.judging.took(filter_.judge, began)
        self.judging.settle(filter_.judge)
        if not self.guarded.output.scored.idle:
            found = withheld(await self.score_answer(filter_, self.guarded.output.scored), self.guarded.floor)
            blocked += [i for i in found if i not in blocked]
        return changed, blocked

    async def refuse_whole(
        self, body: dict[str, Any], filter_: AnswerFilter, choices: Sequence[int], *, stream: bool
    ) -> None:
        """Send the answer with the refusal, or the notice, in the place of these choices."""
        if not self.notice and self.guarded.policy.on_block == "error":
            raise self.filtered("The answer was blocked by the content policy.", "completion")
        if stream:
            await self.sender.last(self.wire.refused_stream(self.ask()))
            return
        filter_.refuse_whole(body, choices)
        await self.sender.answer(body)

    async def _sampled(self, filter_: AnswerFilter) -> None:
        if self.holding is not None and self.lot is not None:
            await self.holding.sample(filter_, self.lot)

    async def _stream(self, answer: Answer, filter_: AnswerFilter) -> None:
        if answer.content_type != "text/event-stream":
            raise UpstreamBroken("The upstream answered a stream request with something else than a stream.")
        stream = StreamWriter.new(self, filter_)
        try:
            await stream.follow(answer, self.max_frame)
            if filter_.clean:
                answer.release()
            else:
                answer.close()
            await stream.finish()
            await self._sampled(filter_)
        except WardgateError as error:
            answer.close()
            self.record.outcome = error.code
            await self.abandoned()
            self.judging.settle(filter_.judge)
            if not isinstance(error, FlagNotDurable):
                await self.record.keep(filter_.untold(), end=True)
            raise

    async def abandoned(self) -> None:
        """The answer ends before its end: a person must see what has left of it all the same."""
        if self.holding is not None and self.sender.started:
            await self.holding.abandoned()

    async def end_broken(self, error: WardgateError) -> None:
        """The status has left: an error frame says that the answer is not whole."""
        self.record.outcome = error.code
        await self.sender.last(self.wire.broken(error))

    def refuse(self, filter_: AnswerFilter, choices: Sequence[int], out: list[bytes]) -> None:
        """End blocked choices; ContentFiltered where an error can still say so. Those that a person must see wait."""
        if self.holding is not None:
            if self.holding.takes(filter_, choices):
                return
            choices = self.holding.given_up(choices)
        filter_.refuse(choices, out)
        if filter_.over and not self.sender.started and self.guarded.policy.on_block == "error":
            self.judging.settle(filter_.judge)
            raise self.filtered("The answer was blocked by the content policy.", "completion")
