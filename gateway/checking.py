"""A check: texts judged by a policy's guards of one stage, for a caller who asks the model himself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import InvalidRequest, UnknownPolicy
from gateway.exchange import Exchange
from gateway.judging import Judging
from gateway.plan import NO_POLICY, Guarded, Plan
from gateway.prompting import FORESEEN, Edit
from gateway.scoring import prompt_texts
from gateway.wire.arguments import Arguments
from gateway.wire.calls import CallJudge
from gateway.wire.media import Medium
from gateway.wire.prompt import TextSlot
from guards.cache import Recall
from guards.calls import Offered, ToolCall
from guards.catalog import Lanes
from guards.policy import Tenant
from guards.scored import Text
from guards.verdict import Stage, Verdict

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

    asked: Asked
    judging: Judging
    edits: list[Edit] = field(default_factory=list)
    """The texts that a guard rewrote, which stand in the request by now."""
    recall: Recall | None = None
    """Where the verdict cache was asked before the check was admitted."""

    @property
    def exchange(self) -> Exchange:
        return self.judging.exchange

    @property
    def given(self) -> dict[str, Any]:
        """The request as it came."""
        return self.judging.record.request or self.exchange.request

    @property
    def lanes(self) -> Lanes:
        guarded = self.judging.guarded
        return guarded.input if self.asked.stage == "input" else guarded.output

    def foresee(self) -> None:
        """As `Run.foresee`."""
        if len(self.asked.slots) <= FORESEEN:
            self.recall = self.lanes.scored.recall(texts(self.asked))

    async def run(self) -> None:
        """Judge all, and keep what was flagged."""
        judging, asked = self.judging, texts(self.asked)
        await judging.media(self.asked.media)
        if not self.lanes.exact_idle:
            self.edits = await judging.exactly(self.lanes, self.asked.stage, self.asked.slots)
            self.exchange.verdicts += self._judge_calls()
        if not self.lanes.scored.idle and not judging.withheld:
            await judging.score(self.lanes.scored, asked, self.recall)
        judging.record.request = self.asked.kept(self.given)
        await judging.record.keep({}, end=True)

    def _judge_calls(self) -> list[Verdict]:
        asked = self.asked
        offered = {call.name: () for _, call in asked.calls} if asked.offered is None else asked.offered
        judge = CallJudge(self.lanes.calls, offered=offered)
        return [v for where, call in asked.calls for v in judge.verdicts(call, asked.stage, where, None)]


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
