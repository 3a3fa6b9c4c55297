"""The queue: one holder at a time, decisions that count once, and nothing that is lost."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import NotClaimable, NotUndoable, StaleLease
from gateway.review.case import Case, State
from gateway.review.decision import Choice, Decision
from gateway.review.ledger import Ledger
from gateway.review.queue import Claim, ReviewQueue, View
from gateway.review.reading import text
from gateway.vault import SealingVault, masters

NOW = 1_800_000_000.0
LEASED: Sequence[State] = ("leased",)
ALL: Sequence[State] = ("open", "leased", "deciding", "closed")
CASE = Case(
    id="case_1",
    exchange="x1",
    at=NOW,
    opened=NOW,
    tenant="acme",
    model="assistant",
    policy="support@1",
    route="/v1/chat/completions",
    stage="output",
    source="guard",
    deliver="withhold",
    severity=1,
    categories=("toxicity",),
    deadline=NOW + 1800,
    on_deadline="block",
)


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Room:
    """A queue with a clock that the test turns."""

    queue: ReviewQueue
    clock: Clock
    redis: Redis
    said: int = 0
    opened: list[Case] = field(default_factory=list)

    async def open(self, **terms: Any) -> Case:
        case = replace(CASE, id=f"case_{len(self.opened)}", **terms)
        self.opened.append(case)
        assert await self.queue.open(case, b"text")
        return case

    async def claim(self, reviewer: str, **more: Any) -> Claim:
        claim = await self.queue.claim("acme", reviewer, **more)
        assert claim is not None
        return claim

    async def say(self, choice: Choice, reviewer: str, claim: Claim, edits: Mapping[str, str] | None = None) -> View:
        self.said += 1
        decision = Decision(claim.case.id, choice, reviewer, self.clock.now, edits=dict(edits or {}), token=claim.token)
        return await self.queue.submit(decision, key=str(self.said))

    async def decide(self, choice: Choice, reviewer: str, **more: Any) -> View:
        return await self.say(choice, reviewer, await self.claim(reviewer, **more))

    async def view(self, case: Case) -> View:
        found = await self.queue.get(case.id)
        assert found is not None
        return found


@pytest.fixture
def room(redis: Redis) -> Room:
    clock = Clock()
    return Room(ReviewQueue(redis, Ledger(redis), clock=clock), clock, redis)


async def test_a_case_is_opened_once(room: Room) -> None:
    case = await room.open()
    assert not await room.queue.open(case, b"other")
    assert await room.queue.matter(case.id) == b"text"
    assert (await room.view(case)).state == "open"


async def test_two_people_never_hold_the_same_case(room: Room) -> None:
    await room.open()
    await room.claim("ann")
    assert await room.queue.claim("acme", "bob") is None


async def test_who_claims_again_gets_what_he_has(room: Room) -> None:
    await room.open()
    await room.open()
    first = await room.claim("ann")
    assert await room.claim("ann") == first


async def test_the_most_urgent_comes_first_and_the_severe_before_it(room: Room) -> None:
    late = await room.open(deadline=NOW + 3000)
    soon = await room.open(deadline=NOW + 900)
    severe = await room.open(deadline=NOW + 3000, severity=3)
    taken = [(await room.claim(name)).case.id for name in ("a", "b", "c")]
    assert taken == [severe.id, soon.id, late.id]


async def test_another_tenants_cases_are_not_there(room: Room) -> None:
    case = await room.open()
    assert await room.queue.claim("other", "ann") is None
    with pytest.raises(NotClaimable):
        await room.queue.claim("other", "ann", wanted=case.id)


async def test_a_lease_ends_and_the_old_token_decides_nothing(room: Room) -> None:
    case = await room.open()
    old = await room.claim("ann")
    room.clock.now += 601
    new = await room.claim("bob")
    assert new.token > old.token
    with pytest.raises(StaleLease):
        await room.say("allow", "ann", old)
    with pytest.raises(StaleLease):
        await room.queue.renew(case.id, "ann", old.token)
    assert (await room.view(case)).reviews == ()


async def test_a_lease_that_is_renewed_goes_on(room: Room) -> None:
    case = await room.open()
    claim = await room.claim("ann")
    room.clock.now += 500
    assert await room.queue.renew(case.id, "ann", claim.token) == pytest.approx(NOW + 1100)
    room.clock.now += 500
    assert (await room.say("block", "ann", claim)).state == "deciding"


async def test_a_decision_takes_effect_once_it_can_no_longer_be_undone(room: Room) -> None:
    case = await room.open()
    decided = await room.decide("block", "ann")
    assert (decided.state, decided.outcome, decided.effective_at) == ("deciding", None, NOW + 30)
    assert await room.queue.settle() == []
    room.clock.now += 30
    [closed] = await room.queue.settle()
    assert (closed.case.id, closed.state, closed.closed_at) == (case.id, "closed", NOW + 30)
    assert closed.outcome is not None
    assert (closed.outcome.choice, closed.outcome.reviewer) == ("block", "ann")
    assert await room.queue.settle() == []


async def test_the_same_submission_again_changes_nothing(room: Room) -> None:
    await room.open()
    claim = await room.claim("ann")
    decision = Decision(claim.case.id, "block", "ann", NOW, token=claim.token)
    first = await room.queue.submit(decision, key="once")
    assert await room.queue.submit(decision, key="once") == first
    assert len(first.reviews) == 1


async def test_who_decided_may_undo_in_time_and_nobody_else(room: Room) -> None:
    case = await room.open()
    await room.decide("block", "ann")
    with pytest.raises(NotUndoable):
        await room.queue.undo(case.id, "bob")
    claim = await room.queue.undo(case.id, "ann")
    assert (await room.view(case)).state == "leased"
    await room.say("allow", "ann", claim)
    room.clock.now += 31
    with pytest.raises(NotUndoable):
        await room.queue.undo(case.id, "ann")
    [closed] = await room.queue.settle()
    assert [d.choice for d in closed.reviews] == ["allow"]


async def test_as_many_as_the_policy_says_must_agree(room: Room) -> None:
    case = await room.open(reviews=2)
    assert (await room.decide("block", "ann")).state == "open"
    assert await room.queue.claim("acme", "ann") is None
    assert (await room.decide("block", "bob")).state == "deciding"
    assert len((await room.view(case)).reviews) == 2


async def test_who_disagrees_leaves_it_to_a_senior_whose_word_is_final(room: Room) -> None:
    case = await room.open(reviews=2)
    await room.decide("block", "ann")
    assert (await room.decide("allow", "bob")).level == "senior"
    assert await room.queue.claim("acme", "carl") is None
    decided = await room.decide("allow", "dora", level="senior")
    assert decided.pending is not None
    assert (decided.case.id, decided.pending.reviewer) == (case.id, "dora")


async def test_edits_agree_when_their_texts_do(room: Room) -> None:
    await room.open(reviews=2)
    await room.say("allow_with_edit", "ann", await room.claim("ann"), {"a": "x"})
    assert (await room.say("allow_with_edit", "bob", await room.claim("bob"), {"a": "y"})).level == "senior"
    other = await room.open(reviews=2)
    await room.say("allow_with_edit", "ann", await room.claim("ann", wanted=other.id), {"a": "x"})
    decided = await room.say("allow_with_edit", "bob", await room.claim("bob", wanted=other.id), {"a": "x"})
    assert decided.state == "deciding"


async def test_who_cannot_judge_leaves_it_to_others_and_twice_to_a_senior(room: Room) -> None:
    await room.open()
    assert (await room.decide("cannot_judge", "ann")).level == "reviewer"
    assert (await room.decide("cannot_judge", "bob")).level == "senior"


async def test_what_is_skipped_three_times_goes_to_a_senior(room: Room) -> None:
    case = await room.open()
    for name in ("ann", "bob", "carl"):
        claim = await room.claim(name)
        await room.queue.skip(case.id, name, claim.token, "not my language")
    view = await room.view(case)
    assert (view.level, view.skips, view.state) == ("senior", 3, "open")


async def test_the_deadline_decides_and_the_holder_is_told(room: Room) -> None:
    case = await room.open()
    claim = await room.claim("ann", wanted=case.id)
    room.clock.now += 1799
    await room.queue.settle()
    claim = await room.claim("ann", wanted=case.id)
    room.clock.now += 1
    [closed] = await room.queue.settle()
    assert closed.outcome is not None
    assert (closed.outcome.choice, closed.outcome.reviewer) == ("block", "timeout")
    with pytest.raises(StaleLease):
        await room.say("allow", "ann", claim)


async def test_a_decision_made_in_time_holds_at_the_deadline(room: Room) -> None:
    await room.open(deadline=NOW + 10)
    await room.decide("allow", "ann")
    room.clock.now += 10
    [closed] = await room.queue.settle()
    assert closed.outcome is not None
    assert closed.outcome.choice == "allow"


async def test_a_case_for_which_a_request_waits_is_decided_at_once(room: Room) -> None:
    case = await room.open(undo=0.0, deliver="wait")
    assert (await room.decide("allow", "ann")).state == "closed"
    assert (await room.queue.wait(case.id, 0.0)) is not None


async def test_somebody_else_decides_again_and_does_not_know(room: Room) -> None:
    case = await room.open(second=True)
    await room.decide("block", "ann")
    room.clock.now += 31
    await room.queue.settle()
    view = await room.view(case)
    assert (view.state, view.phase) == ("open", "second")
    assert view.outcome is not None
    assert await room.queue.claim("acme", "ann") is None
    claim = await room.claim("bob")
    assert claim.reviews == ()
    agreed = await room.say("block", "bob", claim)
    assert (agreed.state, agreed.phase) == ("closed", "agreed")
    assert await room.redis.xlen(room.queue.decided) == 1


async def test_where_the_second_disagrees_a_senior_decides_anew(room: Room) -> None:
    case = await room.open(second=True)
    await room.decide("block", "ann")
    room.clock.now += 31
    await room.queue.settle()
    disputed = await room.decide("allow", "bob")
    assert (disputed.level, disputed.phase) == ("senior", "dispute")
    assert disputed.outcome is not None
    assert disputed.outcome.choice == "block"
    await room.decide("allow", "dora", level="senior")
    room.clock.now += 31
    await room.queue.settle()
    view = await room.view(case)
    assert view.outcome is not None
    assert (view.state, view.outcome.choice) == ("closed", "allow")
    told: Any = await room.redis.xrange(room.queue.decided)
    assert [fields[b"superseded"] for _, fields in told] == [b"0", b"1"]


async def test_a_closed_case_can_be_decided_anew(room: Room) -> None:
    case = await room.open()
    with pytest.raises(StaleLease):
        await room.queue.supersede(Decision(case.id, "allow", "dora", NOW, supersedes=True))
    await room.decide("block", "ann")
    room.clock.now += 31
    await room.queue.settle()
    view = await room.queue.supersede(Decision(case.id, "allow", "dora", NOW + 40, supersedes=True))
    assert view.outcome is not None
    assert (view.outcome.choice, len(view.reviews)) == ("allow", 2)


async def test_every_word_is_in_the_ledger(room: Room) -> None:
    case = await room.open(deadline=NOW + 100)
    await room.decide("cannot_judge", "ann")
    await room.queue.undo(case.id, "ann")
    room.clock.now += 100
    await room.queue.settle()
    ledger = Ledger(room.redis)
    rows = [row.body async for row in ledger.rows()]
    assert [(r["kind"], r["reviewer"]) for r in rows] == [
        ("decision", "ann"),
        ("undo", "ann"),
        ("decision", "timeout"),
    ]
    assert await ledger.verify() is None


async def test_what_waits_is_counted_and_listed(room: Room) -> None:
    for severity in (0, 2):
        await room.open(severity=severity)
    await room.claim("ann")
    counts = await room.queue.counts("acme")
    assert (counts.ready, counts.leased, counts.oldest) == (1, 1, NOW)
    listed = await room.queue.list("acme")
    assert [v.case.severity for v in listed] == [2, 0]
    assert [v.state for v in await room.queue.list("acme", states=LEASED)] == ["leased"]
    assert await room.queue.list("acme", categories=("harm",)) == []


async def test_a_held_answer_leads_to_its_case_and_an_end_user_to_his(room: Room) -> None:
    case = await room.open(answer_ids=("chatcmpl-1",), user="u1")
    assert await room.queue.by_answer("acme", "chatcmpl-1") == case.id
    assert await room.queue.by_answer("other", "chatcmpl-1") is None
    assert await room.queue.by_user("acme", "u1") == [case.id]


async def test_a_forgotten_case_leaves_nothing_but_the_ledger(room: Room) -> None:
    case = await room.open(answer_ids=("chatcmpl-1",), user="u1")
    await room.decide("block", "ann")
    assert await room.queue.forget(case.id)
    assert not await room.queue.forget(case.id)
    keys = {key.decode() async for key in room.redis.scan_iter("*")}
    assert not {key for key in keys if case.id in key}
    assert await room.queue.by_answer("acme", "chatcmpl-1") is None
    assert await room.queue.list("acme", states=ALL) == []
    room.clock.now += 9999
    assert await room.queue.settle() == []


async def test_all_keys_lie_in_one_slot(room: Room) -> None:
    await room.open(answer_ids=("a",), user="u")
    await room.decide("block", "ann")
    assert {text(key).split("}")[0] for key in await room.redis.keys("*")} == {"{wardgate"}


async def test_what_took_effect_is_undone_by_nobody(room: Room) -> None:
    case = await room.open(second=True, deadline=NOW + 10)
    await room.decide("allow", "ann")
    room.clock.now += 11
    await room.queue.settle()
    with pytest.raises(NotUndoable):
        await room.queue.undo(case.id, "ann")
    assert (await room.view(case)).phase == "second"


async def test_undo_takes_back_the_last_word_only_and_once(room: Room) -> None:
    case = await room.open(reviews=2)
    await room.decide("escalate", "ann")
    await room.decide("allow", "dora", level="senior")
    claim = await room.queue.undo(case.id, "dora")
    await room.queue.release(case.id, "dora", claim.token)
    with pytest.raises(NotUndoable):
        await room.queue.undo(case.id, "ann")
    assert (await room.view(case)).level == "senior"


async def test_what_reviewers_write_is_sealed(redis: Redis) -> None:
    vault = SealingVault(redis, masters(f"k1:{base64.b64encode(b'k' * 32).decode()}"))
    queue = ReviewQueue(redis, Ledger(redis), clock=Clock(), vault=vault)
    await queue.open(CASE, b"")
    claim = await queue.claim("acme", "ann")
    assert claim is not None
    said = Decision(CASE.id, "allow_with_edit", "ann", NOW, edits={"a": "my words"}, note="a note", token=claim.token)
    view = await queue.submit(said, key="1")
    assert view.pending == said == view.reviews[0]
    values = [v for v in (await redis.hgetall("{wardgate}:review:case:case_1")).values() if isinstance(v, bytes)]
    rows: Any = await redis.lrange("{wardgate}:review:reviews:case_1", 0, -1)
    assert not [v for v in (*values, *rows) if b"my words" in v or b"a note" in v]
    await vault.destroy("acme")
    gone = await queue.get(CASE.id)
    assert gone is not None
    assert gone.pending is not None
    assert (gone.pending.choice, gone.pending.edits, gone.pending.note) == ("allow_with_edit", {}, "")


async def test_a_case_that_cannot_be_read_does_not_keep_the_others(room: Room) -> None:
    broken = await room.open(deadline=NOW + 5)
    sound = await room.open(deadline=NOW + 6)
    await room.redis.hset(f"{{wardgate}}:review:case:{broken.id}", "case", "{}")
    room.clock.now += 10
    closed = await room.queue.settle()
    assert [view.case.id for view in closed] == [sound.id]


async def test_a_word_after_the_deadline_is_too_late_whoever_settles(room: Room) -> None:
    case = await room.open(deadline=NOW + 10)
    claim = await room.claim("ann")
    room.clock.now += 11
    with pytest.raises(StaleLease):
        await room.say("allow", "ann", claim)
    [closed] = await room.queue.settle()
    assert closed.outcome is not None
    assert (closed.case.id, closed.outcome.choice, closed.outcome.reviewer) == (case.id, "block", "timeout")
