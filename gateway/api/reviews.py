"""Where an application asks after an answer that waits for a person, or waited."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from gateway.access import ASKING, Access, Caller
from gateway.errors import UnknownReview
from gateway.review.outputs import Outputs
from gateway.review.queue import ReviewQueue, View


def review_routes(access: Access, queue: ReviewQueue, outputs: Outputs) -> APIRouter:
    """`GET /v1/reviews/{case}`, and the retrieval of held answers by their own id, as the SDKs do it."""
    router = APIRouter()

    async def found(caller: Caller, case: str | None) -> View:
        view = await queue.get(case) if case else None
        if view is None or view.case.tenant != caller.name:
            raise UnknownReview("No answer of this id waits here, or waited. It may be too long ago.")
        return view

    @router.get("/v1/reviews/{case}")
    async def review(case: str, request: Request) -> dict[str, Any]:
        view = await found(access.caller(request.scope, ASKING), case)
        return told(view, await outputs.final(view))

    async def retrieved(id: str, request: Request) -> dict[str, Any]:
        caller = access.caller(request.scope, ASKING)
        view = await found(caller, await queue.by_answer(caller.name, id))
        answer = await outputs.final(view) or await outputs.waiting(view)
        if answer is None:
            raise UnknownReview("The text of this answer is not kept any more.")
        return {**answer, "wardgate": {"case": view.case.id, "status": status(view)}}

    router.add_api_route("/v1/chat/completions/{id}", retrieved, methods=["GET"])
    router.add_api_route("/v1/responses/{id}", retrieved, methods=["GET"])
    return router


def status(view: View) -> str:
    """`pending`: nobody has decided, or it can still be undone."""
    return "decided" if view.outcome is not None and view.closed_at is not None else "pending"


def told(view: View, output: dict[str, Any] | None) -> dict[str, Any]:
    case, outcome = view.case, view.outcome if status(view) == "decided" else None
    return {
        "id": case.id,
        "object": "review",
        "status": status(view),
        "request_id": case.exchange,
        "model": case.model,
        "policy": case.policy,
        "created_at": int(case.opened),
        "deadline": None if case.deadline is None else int(case.deadline),
        "decision": outcome.choice if outcome else None,
        "reason": outcome.reason if outcome else None,
        "decided_at": int(view.closed_at) if outcome and view.closed_at else None,
        "output": output,
    }
