from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import (
    InvalidRequest,
    NotClaimable,
    NotUndoable,
    RequestError,
    RoleNotAllowed,
    StaleLease,
    UnknownCase,
    UnknownReview,
)
from gateway.live.keys import ROLES, Role
from gateway.review.desk import Desk, Person
from gateway.review.person import DECIDING, LOOKING, OPERATING, PRESENT
from tests.gateway.review.room import ANSWER, FIELD, VERDICT, Room, decision, person

ANN, BEN, SUE = person("ann"), person("ben"), person("sue", "senior")
ADMIN, AUDITOR = person("adm", "admin"), person("aud", "auditor")


@pytest.fixture
def room(redis: Redis) -> Room:
    return Room.of(redis)


# -- roles and tenants

DOORS: dict[str, tuple[Callable[[Desk, Person], Awaitable[object]], frozenset[Role]]] = {
    "work": (lambda d, p: d.work(p), PRESENT),
    "list": (lambda d, p: d.list(p), PRESENT),
    "claim": (lambda d, p: d.claim(p), DECIDING),
    "history": (lambda d, p: d.history(p, {}), LOOKING),
    "flag": (lambda d, p: d.flag(p, "x"), LOOKING),
    "stats": (lambda d, p: d.stats(p), DECIDING),
    "agreement": (lambda d, p: d.agreement(p), PRESENT),
    "ledger": (lambda d, p: d.ledger(p), LOOKING),
    "dead": (lambda d, p: d.dead(p), OPERATING),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("door", DOORS)
async def test_each_door_opens_to_its_roles_alone(room: Room, door: str, role: Role) -> None:
    do, roles = DOORS[door]
    if role in roles:
        await do(room.desk, person("x", role))
    else:
        with pytest.raises(RoleNotAllowed):
            await do(room.desk, person("x", role))


async def test_another_tenants_case_is_no_different_from_one_that_does_not_exist(room: Room) -> None:
    case = await room.put(tenant="other")
    for id in (case.id, "case_none"):
        for do in (
            lambda id=id: room.desk.open_case(ADMIN, id),
            lambda id=id: room.desk.claim(ADMIN, id),
            lambda id=id: room.desk.renew(ADMIN, id, 1),
            lambda id=id: room.desk.undo(ADMIN, id),
            lambda id=id: room.desk.reveal(ADMIN, id),
            lambda id=id: room.desk.rescore(ADMIN, id, {}),
        ):
            with pytest.raises(UnknownCase, match=r"^There is no such case\.$"):
                await do()
    assert await room.desk.list(ADMIN) == []
    assert await room.desk.claim(ADMIN) is None
    assert await room.rows("access") == []


async def test_an_auditor_looks_and_never_decides(room: Room) -> None:
    case = await room.put()
    page = await room.desk.open_case(AUDITOR, case.id)
    assert page.matter is not None
    assert page.verdicts == [VERDICT]
    assert [(row["reviewer"], row["role"], row["case"]) for row in await room.rows("access")] == [
        ("aud", "auditor", case.id)
    ]
    for do in (room.desk.claim(AUDITOR, case.id), room.desk.submit(AUDITOR, decision(case), key="k")):
        with pytest.raises(RoleNotAllowed):
            await do


# -- texts


async def test_a_text_is_shown_to_whoever_holds_the_case_and_the_ledger_says_so(room: Room) -> None:
    case = await room.put()
    before = await room.desk.open_case(ANN, case.id)
    assert before.matter is None
    assert await room.rows("access") == []
    await room.desk.claim(ANN, case.id)
    page = await room.desk.open_case(ANN, case.id)
    assert page.mine
    assert page.matter is not None
    assert page.matter.texts == {FIELD: ANSWER}
    assert (await room.desk.open_case(BEN, case.id)).matter is None
    assert [(row["reviewer"], row["tenant"], row["case"]) for row in await room.rows("access")] == [
        ("ann", "acme", case.id)
    ]


async def test_a_lease_that_ran_out_takes_the_text_away(room: Room) -> None:
    case = await room.put()
    await room.desk.claim(ANN, case.id)
    room.now[0] += 601
    assert (await room.desk.open_case(ANN, case.id)).matter is None
    with pytest.raises(StaleLease):
        await room.desk.reveal(ANN, case.id)
    with pytest.raises(StaleLease):
        await room.desk.rescore(ANN, case.id, {FIELD: "x"})


async def test_a_case_whose_tenants_key_is_destroyed_opens_without_text(room: Room) -> None:
    case = await room.put()
    await room.vault.destroy("acme")
    page = await room.desk.open_case(SUE, case.id)
    assert page.matter is None
    assert page.verdicts == []


async def test_a_reveal_is_kept_in_the_ledger(room: Room) -> None:
    case = await room.put()
    await room.desk.claim(ANN, case.id)
    await room.desk.reveal(ANN, case.id)
    (row,) = await room.rows("reveal")
    assert (row["reviewer"], row["case"]) == ("ann", case.id)


# -- what would sway


async def test_verdicts_of_an_audit_stay_hidden_until_they_cannot_sway_any_more(room: Room) -> None:
    case = await room.put(source="audit", deliver="release")
    claim = await room.desk.claim(ANN, case.id)
    assert claim is not None
    assert claim.case.categories == ()
    page = await room.desk.open_case(ANN, case.id)
    assert page.verdicts is None
    assert page.matter is not None
    assert page.matter.verdicts == []
    assert page.view.case.categories == ()
    with pytest.raises(InvalidRequest):
        await room.desk.rescore(ANN, case.id, {FIELD: ANSWER})
    await room.desk.submit(ANN, decision(case, token=claim.token), key="k")
    assert (await room.desk.open_case(ANN, case.id)).verdicts is None  # he could undo it yet
    await room.later(31)
    assert (await room.desk.open_case(ANN, case.id)).verdicts == [VERDICT]
    found = await room.queue.get(case.id)
    assert found is not None
    assert found.reviews[0].blind


async def test_a_second_review_looks_like_a_first_one(room: Room) -> None:
    case = await room.put(second=True)
    await room.decide(ANN, case, note="it is bad")
    await room.later(31)
    (line,) = await room.desk.list(BEN)
    assert (line.state, line.outcome, line.closed_at, line.hidden) == ("open", None, None, True)
    assert line.case.categories == ()
    assert not line.case.second
    claim = await room.desk.claim(BEN)
    assert claim is not None
    assert claim.reviews == ()
    page = await room.desk.open_case(BEN, case.id)
    assert (page.verdicts, page.view.reviews, page.view.outcome, page.view.phase) == (None, (), None, "first")
    assert "it is bad" not in repr(page)
    await room.desk.submit(BEN, decision(case, "allow", token=claim.token), key="k")
    await room.later(31)
    dispute = await room.desk.open_case(SUE, case.id)
    assert [d.choice for d in dispute.view.reviews] == ["block", "allow"]
    assert [d.blind for d in dispute.view.reviews] == [False, True]


async def test_of_several_reviewers_each_judges_for_himself(room: Room) -> None:
    case = await room.put(reviews=2)
    await room.decide(ANN, case, note="mine")
    await room.desk.claim(BEN, case.id)
    page = await room.desk.open_case(BEN, case.id)
    assert page.view.reviews == ()
    assert page.verdicts == [VERDICT]


async def test_a_search_by_category_does_not_tell_what_is_hidden(room: Room) -> None:
    await room.put(source="audit")
    plain = await room.put()
    lines = await room.desk.list(ANN, categories=("prompt_leak",))
    assert [line.case.id for line in lines] == [plain.id]
    assert len(await room.desk.list(ANN)) == 2


async def test_pages_of_a_search_by_category_leave_nothing_out(room: Room) -> None:
    cases = [await room.put(source="audit" if i % 2 else "guard", deadline=room.now[0] + i) for i in range(10)]
    found = [await room.desk.list(ANN, categories=("prompt_leak",), offset=o, limit=2) for o in (0, 2, 4)]
    assert [line.case.id for page in found for line in page] == [case.id for case in cases[::2]]


# -- decisions


async def test_who_decided_and_when_is_not_for_the_client_to_say(room: Room) -> None:
    case = await room.put()
    claim = await room.desk.claim(ANN, case.id)
    assert claim is not None
    said = decision(case, token=claim.token, blind=True, bulk=True, supersedes=True, seconds=float("inf"))
    view = await room.desk.submit(ANN, said, key="k")
    (kept,) = view.reviews
    assert (kept.reviewer, kept.at) == ("ann", room.now[0])
    assert (kept.blind, kept.bulk, kept.supersedes, kept.seconds) == (False, False, False, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"choice": "allow", "reason": None},
        {"choice": "block", "reason": None},
        {"choice": "block", "reason": "because"},
        {"choice": "shred"},
        {"severity": 4},
        {"severity": -1},
        {"categories": ("nonsense",)},
        {"note": "x" * 2001},
        {"choice": "allow_with_edit"},
        {"choice": "allow_with_edit", "edits": {FIELD: ANSWER}},
        {"choice": "allow_with_edit", "edits": {FIELD: "  "}},
        {"choice": "allow_with_edit", "edits": {"id": "x"}},
        {"choice": "allow_with_edit", "edits": {FIELD: "x" * 400_001}},
        {"choice": "refuse_rewrite"},
        {"choice": "refuse_rewrite", "edits": {FIELD: " \n"}},
    ],
)
async def test_a_decision_that_lacks_something_is_refused_and_the_lease_goes_on(
    room: Room, wrong: dict[str, Any]
) -> None:
    case = await room.put()
    claim = await room.desk.claim(ANN, case.id)
    assert claim is not None
    with pytest.raises(InvalidRequest):
        await room.desk.submit(ANN, decision(case, **{"token": claim.token, **wrong}), key="k")
    assert (await room.desk.open_case(ANN, case.id)).mine


async def test_an_edit_leaves_with_the_policys_redactions(room: Room) -> None:
    case = await room.put()
    await room.decide(ANN, case, "allow_with_edit", edits={FIELD: "Ask jonas@example.com about Project Owl."})
    found = await room.queue.get(case.id)
    assert found is not None
    assert found.pending is not None
    (text,) = found.pending.edits.values()
    assert "jonas" not in text
    assert text.endswith("about Project Owl.")  # what would escalate is for the person to judge


async def test_an_edit_of_one_text_leaves_the_others_as_they_were(room: Room) -> None:
    case = await room.put()
    other = {FIELD: "New.", "unknown": "x"}
    with pytest.raises(InvalidRequest):
        await room.decide(ANN, case, "allow_with_edit", edits=other)


async def test_rescoring_says_what_the_guards_find_in_an_edit(room: Room) -> None:
    case = await room.put()
    await room.desk.claim(ANN, case.id)
    found = await room.desk.rescore(ANN, case.id, {FIELD: "Write to jonas@example.com about Project Owl."})
    assert {(v["guard"], v["would"]) for v in found} == {("pii", "redact"), ("codename", "escalate")}
    assert await room.desk.rescore(ANN, case.id, {FIELD: "Nobody knows."}) == []
    with pytest.raises(InvalidRequest):
        await room.desk.rescore(ANN, case.id, {"elsewhere": "x"})


async def test_a_stale_token_and_a_stranger_are_told_the_lease_is_stale(room: Room) -> None:
    case = await room.put()
    claim = await room.desk.claim(ANN, case.id)
    assert claim is not None
    for who, token in ((ANN, claim.token + 1), (BEN, claim.token), (SUE, claim.token)):
        with pytest.raises(StaleLease):
            await room.desk.submit(who, decision(case, token=token), key=f"{who.id}{token}")
    with pytest.raises(StaleLease):
        await room.desk.renew(BEN, case.id, claim.token)


async def test_the_same_submission_again_gives_the_same_answer(room: Room) -> None:
    case = await room.put()
    claim = await room.desk.claim(ANN, case.id)
    assert claim is not None
    said = decision(case, token=claim.token)
    first = await room.desk.submit(ANN, said, key="k")
    room.now[0] += 1
    assert await room.desk.submit(ANN, said, key="k") == first
    assert len(await room.rows("decision")) == 1


async def test_a_decision_is_undone_within_its_window_and_not_after(room: Room) -> None:
    case = await room.put()
    await room.decide(ANN, case)
    with pytest.raises(NotUndoable):
        await room.desk.undo(BEN, case.id)
    again = await room.desk.undo(ANN, case.id)
    assert again.case.id == case.id
    await room.desk.submit(ANN, decision(case, "allow", token=again.token), key="other")
    await room.later(31)
    with pytest.raises(NotUndoable):
        await room.desk.undo(ANN, case.id)
    assert len(await room.rows("undo")) == 1


async def test_a_skip_needs_a_reason(room: Room) -> None:
    case = await room.put()
    claim = await room.desk.claim(ANN, case.id)
    assert claim is not None
    for reason in ("", "  ", "x" * 301):
        with pytest.raises(InvalidRequest):
            await room.desk.skip(ANN, case.id, claim.token, reason)
    await room.desk.skip(ANN, case.id, claim.token, "not my language")
    with pytest.raises(NotClaimable):
        await room.desk.claim(ANN, case.id)


async def test_a_closed_case_is_decided_anew_by_a_senior_or_its_first_judge(room: Room) -> None:
    case = await room.closed(ANN)
    with pytest.raises(RoleNotAllowed):
        await room.desk.supersede(BEN, decision(case, "allow"))
    with pytest.raises(InvalidRequest):
        await room.desk.supersede(SUE, decision(case, "escalate"))
    view = await room.desk.supersede(ANN, decision(case, "allow"))
    assert view.outcome is not None
    assert (view.outcome.choice, view.outcome.supersedes) == ("allow", True)
    view = await room.desk.supersede(SUE, decision(case, "block"))
    assert view.outcome is not None
    assert (view.outcome.choice, view.outcome.reviewer) == ("block", "sue")
    with pytest.raises(RoleNotAllowed):
        await room.desk.supersede(ANN, decision(case, "allow"))


async def test_what_escalates_is_for_seniors(room: Room) -> None:
    case = await room.put()
    await room.decide(ANN, case, "escalate")
    assert [line.level for line in await room.desk.list(BEN)] == ["senior"]
    assert (await room.desk.work(BEN)).waiting == []
    assert await room.desk.claim(BEN) is None
    assert [line.case.id for line in (await room.desk.work(SUE)).waiting] == [case.id]
    assert await room.desk.claim(SUE) is not None
    assert [line.case.id for line in (await room.desk.work(SUE)).mine] == [case.id]


# -- what was decided before


async def test_the_nearest_earlier_decisions_share_categories_and_come_from_people(room: Room) -> None:
    near = await room.closed(BEN, "allow", categories=("prompt_leak", "pii"))
    far = await room.closed(BEN, categories=("pii", "hate", "weapons"))
    await room.closed(BEN, categories=("hate",))
    await room.closed(person("x", tenant="other"), tenant="other", categories=("pii",))
    late = await room.put(categories=("pii",), deadline=room.now[0] + 1)
    await room.later(2)
    case = await room.put(categories=("pii", "prompt_leak"))
    page = await room.desk.open_case(ANN, case.id)
    assert [(past.case, past.choice) for past in page.nearest] == [(near.id, "allow"), (far.id, "block")]
    assert page.nearest[0].about == "pii, prompt_leak"
    assert late.id not in {past.case for past in page.nearest}


async def test_the_same_users_other_cases_of_seven_days_are_counted(room: Room) -> None:
    await room.closed(BEN, user="u1")
    await room.closed(BEN, "allow", user="u1")
    await room.put(user="u1", opened=room.now[0] - 8 * 86400)
    await room.put(user="u2")
    await room.put(user="u1", tenant="other")
    case = await room.put(user="u1")
    assert (await room.desk.open_case(ANN, case.id)).user_counts == {"cases": 2, "block": 1, "allow": 1}


async def test_a_page_says_whether_its_policy_is_still_the_same(room: Room) -> None:
    label = room.plans.plan.guarded["support"].label
    for policy, current in ((label, True), ("support@gone", False)):
        page = await room.desk.open_case(ANN, (await room.put(policy=policy)).id)
        assert page.policy is not None
        assert page.current == current
    assert (await room.desk.open_case(ANN, (await room.put(policy="nothing@x")).id)).policy is None


# -- webhooks and changes


async def test_dead_webhooks_of_other_tenants_are_not_to_be_seen_or_sent(room: Room) -> None:
    room.shelf.letters = [{"id": "1", "tenant": "acme"}, {"id": "2", "tenant": "other"}]
    assert [row["id"] for row in await room.desk.dead(ADMIN)] == ["1"]
    await room.desk.resend(ADMIN, "1")
    with pytest.raises(UnknownReview):
        await room.desk.resend(ADMIN, "2")
    assert room.shelf.sent == ["1"]


async def test_changes_of_ones_own_tenant_arrive(room: Room) -> None:
    changes = aiter(room.desk.changes(ANN))
    upcoming = asyncio.ensure_future(anext(changes))
    mine = ""
    async with asyncio.timeout(5):
        while not upcoming.done():  # the subscription takes a moment
            await room.put(tenant="other")
            mine = (await room.put()).id
            await asyncio.sleep(0.05)
    found = await upcoming
    assert set(found) == {"case", "state"}
    view = await room.queue.get(found["case"])
    assert view is not None
    assert view.case.tenant == "acme"
    assert mine


def test_every_refusal_is_one_that_a_client_is_told_of() -> None:
    for kind in (StaleLease, NotClaimable, NotUndoable, UnknownCase):
        assert issubclass(kind, RequestError)
    assert StaleLease("x").body()["error"]["code"] == "stale_lease"
