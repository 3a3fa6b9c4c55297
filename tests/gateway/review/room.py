"""A desk with a real Redis, two tenants and a clock that the test sets."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from gateway.exchange import FlagPart
from gateway.live.flags import FlagLog
from gateway.live.keys import Role
from gateway.plan import Plan
from gateway.review.case import Case, Matter, new_id
from gateway.review.changes import Changes
from gateway.review.decision import Choice, Decision, Reason
from gateway.review.desk import Claim, Desk, Person
from gateway.review.ledger import Ledger
from gateway.review.queue import ReviewQueue
from gateway.upstream.simulated import Simulated
from gateway.vault import Vault, vault_of
from guards.policy import Document

NOW = 1_790_000_000.0
FIELD = "choices[0].message.content"
ANSWER = "Ask jonas@example.com about Project Falcon."
KEYS = "k1:" + base64.b64encode(b"7" * 32).decode()
CONFIG: dict[str, Any] = {
    "version": 1,
    "upstreams": [{"name": "vllm", "base_urls": ["http://127.0.0.1:9/v1"]}],
    "models": [{"name": "assistant", "upstream": "vllm", "policy": "support"}],
    "policies": [
        {
            "name": "support",
            "guards": [
                {"name": "pii", "kind": "pii", "entities": ["email"], "stages": ["output"], "action": "redact"},
                {"name": "codename", "kind": "pattern", "pattern": "Project [A-Z]\\w{2,20}", "action": "escalate"},
            ],
        }
    ],
}
TENANTS = [
    {"name": name, "keys": ["sha256:" + digit * 64], "models": ["assistant"]}
    for name, digit in (("acme", "0"), ("other", "1"))
]
VERDICT = {"guard": "codename", "category": "prompt_leak", "action": "escalate", "score": 1.0, "field": FIELD}


@dataclass(frozen=True)
class Fixed:
    plan: Plan


@dataclass
class Shelf:
    """Webhooks that could not be delivered."""

    letters: list[dict[str, Any]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    async def dead(self) -> list[dict[str, Any]]:
        return self.letters

    async def resend(self, id: str) -> bool:
        self.sent.append(id)
        return True


@dataclass
class Room:
    """`now` is the clock of the queue and of the desk."""

    queue: ReviewQueue
    vault: Vault
    ledger: Ledger
    flags: FlagLog
    shelf: Shelf
    plans: Fixed
    desk: Desk
    now: list[float]

    @classmethod
    def of(cls, redis: Redis, *, tenants: bool = True) -> Room:
        document = Document.model_validate(CONFIG | ({"tenants": TENANTS} if tenants else {}))
        now = [NOW]
        ledger, flags, shelf, vault = Ledger(redis), FlagLog(redis), Shelf(), vault_of(redis, KEYS)
        queue = ReviewQueue(redis, ledger, clock=lambda: now[0])
        plans = Fixed(Plan.build(document, {"vllm": Simulated()}))
        changes = Changes(redis, queue.changes)
        desk = Desk(queue, vault, ledger, flags, plans=plans, changes=changes, letters=shelf, clock=lambda: now[0])
        return cls(queue, vault, ledger, flags, shelf, plans, desk, now)

    async def put(self, **fields: Any) -> Case:
        """A case with its text, sealed."""
        case = case_of(**fields)
        request = {"messages": [{"role": "user", "content": "Who knows?"}]}
        answer = {"choices": [{"message": {"content": "Ask [EMAIL] about Project Falcon."}}]}
        matter = Matter(request, {FIELD: ANSWER}, [dict(VERDICT)], answer, answer)
        await self.queue.open(case, await self.vault.seal(case.tenant, matter.dump()))
        return case

    async def decide(self, person: Person, case: Case, choice: Choice = "block", **fields: Any) -> Claim:
        """He takes the case and decides."""
        claim = await self.desk.claim(person, case.id)
        assert claim is not None
        await self.desk.submit(person, decision(case, choice, token=claim.token, **fields), key=f"{claim.token}")
        return claim

    async def closed(self, person: Person, choice: Choice = "block", **fields: Any) -> Case:
        """A case that this person has decided for good."""
        case = await self.put(**{"second": False, **fields})
        await self.decide(person, case, choice)
        await self.later(31)
        return case

    async def later(self, seconds: float) -> None:
        self.now[0] += seconds
        await self.queue.settle()

    async def rows(self, kind: str) -> list[dict[str, Any]]:
        return [row.body async for row in self.ledger.rows() if row.body["kind"] == kind]

    async def flag(self, id: str, *, at: float = NOW, tenant: str = "acme", **fields: Any) -> None:
        given = {"answer": "fine", "guard": "pii", "category": "pii", "action": "redact", "case": "", **fields}
        verdict = {"guard": given["guard"], "category": given["category"], "action": given["action"], "score": 1.0}
        request = {"messages": [{"role": "user", "content": given.get("question", "Hello")}]}
        head = {"tenant": tenant, "model": "assistant", "policy": "support@aa", "route": "/v1/x", "request": request}
        end = {"case": given["case"]} if given["case"] else {}
        body = {"head": head, "verdicts": [verdict], "answer": {FIELD: given["answer"]}, "end": end}
        await self.flags.append(FlagPart(id, 0, at, body))


def case_of(**fields: Any) -> Case:
    sound: dict[str, Any] = {
        "id": new_id(),
        "exchange": "req-1",
        "at": NOW - 5,
        "opened": NOW,
        "tenant": "acme",
        "model": "assistant",
        "policy": "support@1a2b",
        "route": "/v1/chat/completions",
        "stage": "output",
        "source": "guard",
        "deliver": "withhold",
        "severity": 2,
        "categories": ("prompt_leak",),
        "deadline": None,
        "on_deadline": "block",
    }
    return Case(**{**sound, **fields})


def decision(case: Case, choice: Choice = "block", **fields: Any) -> Decision:
    reason: Reason | None = "other" if choice in ("allow", "block") else None
    return Decision(**{"case": case.id, "choice": choice, "reviewer": "liar", "at": 1.0, "reason": reason, **fields})


def person(id: str = "ann", role: Role = "reviewer", tenant: str = "acme") -> Person:
    return Person(id, tenant, role, id)
