"""A check: texts judged by a policy's guards of one stage, for a caller who asks the model himself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.api.asgi import Headers
from gateway.errors import InvalidRequest, UnknownPolicy
from gateway.exchange import Exchange
from gateway.media import judge_media
from gateway.metrics import Metrics
from gateway.pipeline import SHOWN_FINDINGS
from gateway.plan import NO_POLICY, Guarded, Plan
from gateway.prompting import FORESEEN, judge_texts
from gateway.record import Record
from gateway.scoring import WITHHELD, notable, prompt_texts
from gateway.wire.arguments import Arguments
from gateway.wire.calls import CallJudge
from gateway.wire.judge import Judge
from gateway.wire.media import Medium
from gateway.wire.prompt import TextSlot
from guards.cache import Recall
from guards.calls import Offered, ToolCall
from guards.catalog import Lanes
from guards.policy import Tenant
from guards.scored import Text
from guards.verdict import RANK, Action, Stage, Verdict

Edit = tuple[TextSlot, str]
NO_MODEL = "none"
"""Stands for the model where a check names none of this gateway."""


@dataclass(slots=True)
class Asked:
    """What is to be checked, in whatever form it came."""

    stage: Stage
    slots: list[TextSlot]
    policy: object = None
    """The name that was asked for."""
    model: object = None
    """Stands for its policy where none is named."""
    question: str = ""
    """What the judged answers answer."""
    media: Sequence[Medium] = ()
    calls: Sequence[tuple[str, ToolCall]] = ()
    """The tool calls of an answer, with the place of each."""
    offered: Offered | None = None
    """The tools that the model might call. None: nobody said; then any may be, and its arguments have no schema."""
    id: str | None = None
    """The caller's own name for the call."""
    kept: Callable[[dict[str, Any]], dict[str, Any]] = lambda request: request
    """The request as the flag log has it."""


@dataclass(slots=True)
class Check:
    """One check on its way."""

    exchange: Exchange
    guarded: Guarded
    asked: Asked
    record: Record
    metrics: Metrics
    edits: list[Edit] = field(default_factory=list)
    """The texts that a guard rewrote, which stand in the request by now."""
    given: dict[str, Any] | None = None
    """The request as it came, where a guard rewrote some of it."""
    recall: Recall | None = None
    """Where the verdict cache was asked before the check was admitted."""
    clock: Callable[[], float] = time.perf_counter

    def foresee(self) -> None:
        """As `Run.foresee`."""
        if len(self.asked.slots) <= FORESEEN:
            self.recall = self.lanes.scored.recall(texts(self.asked))

    @property
    def lanes(self) -> Lanes:
        return self.guarded.input if self.asked.stage == "input" else self.guarded.output

    @property
    def withheld(self) -> bool:
        """Nothing of the texts may be used."""
        return RANK[self.exchange.action] >= WITHHELD

    async def run(self) -> None:
        """Judge all, and keep what was flagged."""
        asked = texts(self.asked)
        if self.asked.media and self.guarded.policy.name != NO_POLICY:
            self.exchange.verdicts += (await judge_media(self.asked.media, self.guarded.policy.media)).verdicts
        if not self.lanes.exact_idle:
            await self._judge_exactly()
        if not self.lanes.scored.idle and not self.withheld:
            await self._score(asked)
        self.record.request = self.asked.kept(self.given or self.exchange.request)
        await self.record.keep({}, end=True)

    async def _judge_exactly(self) -> None:
        judge = Judge(self.lanes.enforced, self.lanes.monitored, self.guarded.folder, self.asked.stage)
        began = self.clock()
        self.edits = await judge_texts(judge, self.asked.slots)
        self.exchange.verdicts += [*judge.verdicts, *self._judge_calls()]
        self._spent(began)
        if self.edits:
            self.given = orjson.loads(orjson.dumps(self.exchange.request))
            for slot, text in self.edits:
                slot.put(text)

    def _judge_calls(self) -> list[Verdict]:
        asked = self.asked
        offered = {call.name: () for _, call in asked.calls} if asked.offered is None else asked.offered
        judge = CallJudge(self.lanes.calls, offered=offered)
        return [v for where, call in asked.calls for v in judge.verdicts(call, asked.stage, where, None)]

    async def _score(self, asked: Sequence[Text]) -> None:
        began = self.clock()
        self.exchange.verdicts += notable(await self.lanes.scored.check(asked, recall=self.recall, quiet=True))
        self._spent(began)

    def _spent(self, began: float) -> None:
        seconds = self.clock() - began
        self.exchange.guard_seconds += seconds
        self.metrics.judged(self.asked.stage, seconds)

    def findings(self) -> dict[str, Any]:
        """Action, policy and findings, as they stand. Monitored guards do not show."""
        x = self.exchange
        shown = [v.finding() for v in x.verdicts if v.action is not Action.ALLOW or v.error]
        return {"action": str(x.action), "policy": x.policy, "findings": shown[:SHOWN_FINDINGS]}

    def categories(self) -> list[str]:
        """What the texts are withheld for."""
        return sorted({v.category for v in self.exchange.verdicts if RANK[v.action] >= WITHHELD})

    def headers(self) -> Headers:
        x = self.exchange
        return [
            (b"x-request-id", x.id.encode()),
            (b"x-wardgate-policy", self.guarded.header),
            (b"x-wardgate-action", x.action.encode()),
            (b"x-wardgate-guard-ms", b"%.2f" % (x.guard_seconds * 1e3)),
        ]


def texts(asked: Asked) -> list[Text]:
    """What the guards that score get to see; of tool calls the arguments with their escapes undone."""
    if asked.stage == "input":
        return prompt_texts(asked.slots)
    return [
        Text(Arguments.read(s.text).text if s.json else s.text, s.path, "response", asked.question) for s in asked.slots
    ]


def calls_of(calls: object, path: str) -> Iterator[tuple[str, ToolCall]]:
    """The calls of a message, `function` and `custom`; InvalidRequest for others, which nobody could judge."""
    for i, call in enumerate(calls if isinstance(calls, list) else ()):
        where = f"{path}[{i}]"
        if not isinstance(call, dict):
            raise InvalidRequest("Each tool call must be an object.", param=where)
        free = isinstance(call.get("custom"), dict)
        inner = call["custom"] if free else call.get("function")
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise InvalidRequest("Each tool call needs a `function` with a `name`.", param=where)
        arguments = inner.get("input" if free else "arguments")
        if not isinstance(arguments, str | None):
            raise InvalidRequest("The arguments of a tool call must be a string.", param=where)
        yield f"{where}.{'custom' if free else 'function'}", ToolCall(inner["name"], arguments or "", free)


def choose(plan: Plan, tenant: Tenant | None, asked: Asked) -> Guarded:
    """The policy that is named, else the model's, else the first that the caller's models lead to."""
    known = policies_of(plan, tenant)
    if asked.policy is not None:
        if asked.policy not in known:
            raise UnknownPolicy(f"There is no such policy for you. {listed(known)}", param="policy")
        return plan.guarded[str(asked.policy)]
    if isinstance(asked.model, str) and asked.model in plan.models_of(tenant):
        return plan.serve(asked.model, tenant).guarded
    if not known:
        raise UnknownPolicy(f"Nothing judges your texts. {listed(known)}", param="policy")
    return plan.guarded[known[0]]


def policies_of(plan: Plan, tenant: Tenant | None) -> list[str]:
    """Those that judge what the caller asks of his models, in their order; of an open gateway all others after them."""
    reached = [plan.serve(name, tenant).guarded.policy.name for name in plan.models_of(tenant)]
    others = [p.name for p in plan.document.policies] if tenant is None else []
    return [name for name in dict.fromkeys([*reached, *others]) if name != NO_POLICY]


def listed(known: Sequence[str]) -> str:
    if not known:
        return "None of your models has a policy; give one a `policy` in the gateway's config."
    return f"Policies you may name: {', '.join(known)}."


def model_of(plan: Plan, tenant: Tenant | None, asked: Asked) -> str:
    """The model's name where it is one of the caller's: names end up in metrics, which must stay few."""
    known = isinstance(asked.model, str) and asked.model in plan.models_of(tenant)
    return str(asked.model) if known else NO_MODEL
