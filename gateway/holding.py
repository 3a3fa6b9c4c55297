"""Answers that wait for a person: put aside whole, kept as a case, and given out as he decides.

What a guard escalates does not leave, and the model is heard to its end: a person can only judge a whole answer, and an
application can only fetch one. A prompt that is escalated is answered all the same, and all of the answer waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gateway.considering import choices_of, considered, matter_of
from gateway.errors import UpstreamBroken
from gateway.exchange import Exchange
from gateway.review.case import Deliver, Matter, Source, new_id
from gateway.review.paths import swap
from gateway.upstream.protocol import Answer
from gateway.wire.assembly import CONTINUED, assembled, left, rest
from gateway.wire.chat_frames import parse_chunk
from gateway.wire.sse import FrameReader
from gateway.wire.surface import AnswerFilter
from guards.lane import Lane
from guards.policy import Policy
from guards.verdict import RANK, Action, Verdict, strongest

if TYPE_CHECKING:
    from gateway.pipeline import Run

LARGEST = 8 << 20
"""Bytes of the longest stream that is put aside. A longer one that is escalated is blocked."""
KEEP_ALIVE = 5.0
"""Seconds between comments in a stream that waits."""
WAITING = b": waiting for a person\n\n"
NOBODY = Lane((), None, ())


class CaseNotOpened(Exception):
    """No case could be kept: nobody would look at the answer."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a case is opened with."""

    exchange: Exchange
    policy: Policy
    source: Source
    deliver: Deliver
    matter: Matter
    answer_ids: tuple[str, ...] = ()
    """Under which a client may know the held answer."""
    probability: float | None = None


class Decided(NamedTuple):
    answer: dict[str, Any] | None
    """None: nothing may leave, or can."""


class Cases(Protocol):
    """Whoever keeps cases."""

    async def open(self, opening: Opening) -> str:
        """The case's id, once it is durable; CaseNotOpened otherwise."""

    async def final(self, case: str, seconds: float) -> Decided | None:
        """What a person decided, waited for; None while nobody has."""


@dataclass(slots=True)
class Holding:
    """Of one exchange whose policy escalates."""

    run: Run
    cases: Cases
    frames: list[bytes] = field(default_factory=list)
    """What the upstream has sent, payload by payload."""
    sent: list[bytes] = field(default_factory=list)
    """What the client has seen, where it may yet see the rest."""
    size: int = 0
    choices: set[int] = field(default_factory=set)
    """Those that wait."""
    filter: AnswerFilter | None = None
    """Of a stream that is under way."""
    noted: bool = False
    """A case was opened of an answer that leaves."""

    @property
    def keeps(self) -> bool:
        """An answer may have to wait."""
        return self.run.guarded.escalates and self.policy.escalation.deliver != "release"

    @property
    def policy(self) -> Policy:
        return self.run.guarded.policy

    # -- while a stream runs

    def hear(self, payload: bytes) -> None:
        """A frame of the upstream's."""
        if not self.keeps:
            return
        self.size += len(payload)
        if self.size <= LARGEST:
            self.frames.append(payload)

    def tell(self, data: bytes) -> None:
        """Bytes that leave."""
        if self.policy.escalation.deliver == "wait" and data != WAITING:
            self.sent.append(data)

    def takes(self, filter_: AnswerFilter, choices: Sequence[int]) -> bool:
        """Put these choices aside, unless some guard blocks: then all that waited is refused with them."""
        if not self.keeps:
            return False
        if strongest([*self.run.exchange.verdicts, *filter_.judge.verdicts]) is not Action.ESCALATE:
            return False
        self.choices |= set(choices)
        filter_.hold(choices)
        return True

    def given_up(self, choices: Sequence[int]) -> list[int]:
        """These choices, and all that waited: they are refused."""
        waited = self.choices - set(choices)
        self.choices = set()
        return [*choices, *sorted(waited)]

    def deaf(self, filter_: AnswerFilter, payload: bytes) -> bool:
        """Nothing of what still comes is for the client."""
        return bool(self.choices) and filter_.over and payload != b"[DONE]"

    # -- whole answers

    async def prompt(self, answer: Answer, filter_: AnswerFilter) -> None:
        """The answer to an escalated prompt: heard whole, judged whole, and held."""
        stream = bool(self.run.exchange.request.get("stream"))
        raw = await self._stream(answer) if stream else parse_chunk(await self.run.read_whole(answer))
        body = deepcopy(raw)
        await self.run.judge_whole(body, filter_)
        if self.run.judging.escalated:
            await self.whole(raw, filter_, stream=stream)
            return
        await self.run.record.keep(filter_.untold(), end=True)
        await self.run.refuse_whole(body, filter_, choices_of(body), stream=stream)

    async def _stream(self, answer: Answer) -> dict[str, Any]:
        if answer.content_type != "text/event-stream":
            raise UpstreamBroken("The upstream answered a stream request with something else than a stream.")
        reader = FrameReader(self.run.max_frame)
        async for data in answer.chunks():
            for payload in reader.feed(data):
                if self.run.usage is None or not self.run.usage.keeps(payload):
                    self.hear(payload)
        reader.finish()
        return self._assembled()

    def _assembled(self) -> dict[str, Any]:
        if self.size > LARGEST:
            raise UpstreamBroken("The answer is too long to wait for a person.")
        return assembled(self.run.exchange.route, self.frames)

    async def whole(self, raw: dict[str, Any], filter_: AnswerFilter, *, stream: bool) -> None:
        """Nothing has left yet: a case is opened of the answer, and the client told."""
        matter, final = await self._open(raw, filter_, stream=stream)
        if final is not None and not stream:
            await self.run.sender.answer(final)
        elif final is not None and (data := self._rest(final)) is not None:
            await self.run.sender.last(data + filter_.ending())
        else:
            await self._withhold(matter, stream=stream)

    async def _withhold(self, matter: Matter, *, stream: bool) -> None:
        """Nothing but the notice, or the refusal, in an answer that all guards have seen."""
        run, policy = self.run, self.policy
        if not run.notice and policy.on_block == "error":
            raise run.filtered("The answer was blocked by the content policy.", "completion")
        if stream:
            await run.sender.last(run.wire.refused_stream(run.ask()))
        elif matter.refused is None:
            await run.sender.whole(run.wire.refused(run.ask()))
        else:
            await run.sender.answer(swap(matter.refused, policy.refusal, run.notice or policy.refusal))

    # -- the end of a stream of which something has left

    async def finish(self, filter_: AnswerFilter) -> None:
        """A case is opened of the whole; then the rest leaves, or the notice."""
        final = (await self._open(self._assembled(), filter_, stream=True))[1]
        if final is not None and (data := self._rest(final)) is not None:
            await self.run.sender.last(data + filter_.ending())
            return
        out: list[bytes] = []
        filter_.refuse(sorted(self.choices), out)
        await self.run.sender.last(b"".join(out) + filter_.ending())

    def _rest(self, final: dict[str, Any]) -> bytes | None:
        route, findings = self.run.exchange.route, self.run.judging.findings()
        if route not in CONTINUED:
            return None
        return rest(route, {**final, "wardgate": findings}, left(route, self.sent) if self.sent else {})

    # -- the case

    async def _open(
        self, raw: dict[str, Any], filter_: AnswerFilter, *, stream: bool
    ) -> tuple[Matter, dict[str, Any] | None]:
        """Durable before anything leaves. With the final answer, should it be there in time."""
        run, escalation = self.run, self.policy.escalation
        matter = await considered(self.run, raw)
        if run.judging.escalated:
            await self._keep(matter, raw)
        await run.record.keep(filter_.untold(), end=True)
        if not run.exchange.case or escalation.deliver != "wait":
            return matter, None
        return matter, await self._decided(escalation.wait, stream=stream)

    async def _keep(self, matter: Matter, raw: dict[str, Any]) -> None:
        run, escalation = self.run, self.policy.escalation
        own = f"chatcmpl-{run.exchange.id}"  # as the gateway names an answer to a chat that it writes itself
        ids = tuple({own, *(str(body["id"]) for body in (raw, matter.refused) if body and body.get("id"))})
        try:
            opening = Opening(run.exchange, self.policy, "guard", escalation.deliver, matter, ids)
            run.exchange.case = await self.cases.open(opening)
            run.notice = escalation.notice
        except CaseNotOpened:  # nobody will look at it: it is blocked
            run.record.outcome = "case_not_opened"

    async def _decided(self, seconds: float, *, stream: bool) -> dict[str, Any] | None:
        clock = self.run.judging.clock
        until = clock() + seconds
        while (remaining := until - clock()) > 0:
            decided = await self.cases.final(self.run.exchange.case, min(KEEP_ALIVE, remaining))
            if decided is not None:
                return decided.answer
            if stream:
                await self.run.sender.more(WAITING)
        return None

    # -- answers that leave all the same

    async def mention(self, filter_: AnswerFilter) -> None:
        """A case is opened of an answer that leaves all the same, before its last bytes do.

        So it is under `deliver: release`, and of streams that are judged after they have left.
        """
        if self.run.judging.escalated and not self.noted:
            self.noted = True
            await self._note(filter_, "guard", None)

    async def abandoned(self) -> None:
        """The stream broke off, or the client left: of what was to leave all the same, a case is opened now."""
        if self.filter is not None and not self.choices and not self.noted:
            await self.mention(self.filter)

    async def sample(self, filter_: AnswerFilter, probability: float) -> None:
        """The lot fell on it, and no guard found anything."""
        if RANK[self.run.exchange.action] == 0 and not self.run.record.flagged:
            await self._note(filter_, "audit", probability)

    def promise(self, fresh: Sequence[Verdict]) -> None:
        """`deliver: release`: the answer's last chunk names the case, which is opened before the stream ends."""
        escalated = strongest([*self.run.exchange.verdicts, *fresh]) is Action.ESCALATE
        if escalated and not self.keeps and not self.run.exchange.case:
            self.run.exchange.case = new_id()

    async def _note(self, filter_: AnswerFilter, source: Source, probability: float | None) -> None:
        run = self.run
        matter = matter_of(run, {t.field: t.written.text for t in filter_.tracks()}, None, None)
        try:
            opening = Opening(run.exchange, self.policy, source, "release", matter, probability=probability)
            case = await self.cases.open(opening)
        except CaseNotOpened:
            run.exchange.case = ""
            return
        if source == "guard":
            run.exchange.case = case
