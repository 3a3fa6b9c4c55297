"""`/api` on a real socket, with a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from redis.asyncio import Redis

from gateway.access import Access
from gateway.api.desk import desk_routes
from gateway.api.errors import install
from gateway.live.answers import Answers
from gateway.live.batch import Batch
from gateway.live.keys import KeyRing, KeyStore, Role, make
from gateway.live.limits import Limiter
from gateway.metrics import Metrics
from tests.fakes import Server
from tests.gateway.harness import until
from tests.gateway.review.room import ANSWER, FIELD, Room


@dataclass
class Api:
    room: Room
    http: httpx.AsyncClient
    store: KeyStore
    ring: KeyRing

    async def key(self, role: Role = "reviewer", tenant: str = "acme") -> dict[str, str]:
        """Headers of a new key."""
        secret, key = make(tenant, role, 1.0)
        await self.store.add(key)
        await self.ring.refresh()
        return {"authorization": f"Bearer {secret}"}

    async def get(self, path: str, headers: dict[str, str], status: int = 200) -> Any:
        return checked(await self.http.get(f"/api{path}", headers=headers), status)

    async def post(self, path: str, headers: dict[str, str], body: object = None, status: int = 200) -> Any:
        return checked(await self.http.post(f"/api{path}", headers=headers, json=body), status)


def checked(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    if status >= 400:
        error = response.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error
    return response.json() if response.content else None


@contextlib.asynccontextmanager
async def serving(redis: Redis, *, tenants: bool = True, beat: float = 15.0) -> AsyncIterator[Api]:
    room, store, batch = Room.of(redis, tenants=tenants), KeyStore(redis), Batch(redis)
    ring = KeyRing(store)
    access = Access(room.plans, ring, Limiter(batch), Answers(batch), Metrics.build())
    app = FastAPI(openapi_url=None)
    install(app)
    app.include_router(desk_routes(room.desk, access, beat))
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.listening.wait()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
            yield Api(room, http, store, ring)
    finally:
        server.should_exit = True
        await task
        await batch.close()
        listener.close()


@pytest.fixture
async def api(redis: Redis) -> AsyncIterator[Api]:
    async with serving(redis) as running:
        yield running


async def test_a_program_takes_a_case_reads_it_decides_and_changes_its_mind(api: Api) -> None:
    case, ann = await api.room.put(), await api.key()
    queue = await api.get("/queue", ann)
    assert (queue["counts"]["ready"], queue["waiting"][0]["case"]["id"]) == (1, case.id)
    claim = (await api.post("/queue/claim", ann))["claim"]
    assert claim["case"]["id"] == case.id
    page = await api.get(f"/cases/{case.id}", ann)
    assert page["mine"]
    assert page["matter"]["texts"] == {FIELD: ANSWER}
    assert page["policy"]["guards"][1]["name"] == "codename"
    assert page["verdicts"][0]["guard"] == "codename"
    token = {"token": claim["token"]}
    assert (await api.post(f"/cases/{case.id}/renew", ann, token))["expires"] == api.room.now[0] + 600
    assert await api.post(f"/cases/{case.id}/reveal", ann, status=204) is None
    found = await api.post(f"/cases/{case.id}/rescore", ann, {"edits": {FIELD: "Project Owl"}})
    assert [v["guard"] for v in found["verdicts"]] == ["codename"]
    said = {**token, "choice": "block", "reason": "harmful_actionable", "severity": 2, "categories": ["hate"]}
    view = await api.post(f"/cases/{case.id}/decision", ann, said)
    assert view["state"] == "deciding"
    assert await api.post(f"/cases/{case.id}/decision", ann, said) == view
    again = await api.post(f"/cases/{case.id}/undo", ann)
    edit = {"token": again["token"], "choice": "allow_with_edit", "edits": {FIELD: "Nobody knows."}}
    await api.post(f"/cases/{case.id}/decision", ann, edit)
    await api.room.later(31)
    view = await api.post(f"/cases/{case.id}/supersede", ann, {"choice": "allow", "reason": "quoted"})
    assert (view["outcome"]["choice"], view["outcome"]["supersedes"]) == ("allow", True)
    assert (await api.get("/stats/me", ann))["count"] == 2


async def test_a_stale_lease_is_a_409_with_its_code(api: Api) -> None:
    case, ann, ben = await api.room.put(), await api.key(), await api.key()
    token = (await api.post(f"/cases/{case.id}/claim", ann))["token"]
    assert (await api.post(f"/cases/{case.id}/claim", ben, status=409))["code"] == "not_claimable"
    said = {"token": token + 1, "choice": "allow", "reason": "other"}
    for name, body in (("decision", said), ("renew", {"token": token + 1}), ("release", {"token": token + 1})):
        assert (await api.post(f"/cases/{case.id}/{name}", ann, body, status=409))["code"] == "stale_lease"
    assert (await api.post(f"/cases/{case.id}/undo", ann, status=409))["code"] == "not_undoable"
    await api.post(f"/cases/{case.id}/release", ann, {"token": token}, status=204)
    token = (await api.post(f"/cases/{case.id}/claim", ben))["token"]
    await api.post(f"/cases/{case.id}/skip", ben, {"token": token, "reason": "tired"}, status=204)
    assert (await api.get("/cases", ben))["cases"][0]["skips"] == 1


async def test_an_idempotency_key_names_a_decision(api: Api) -> None:
    case, ann = await api.room.put(), await api.key()
    token = (await api.post(f"/cases/{case.id}/claim", ann))["token"]
    named = {**ann, "idempotency-key": "one"}
    first = {"token": token, "choice": "block", "reason": "other"}
    view = await api.post(f"/cases/{case.id}/decision", named, first)
    assert await api.post(f"/cases/{case.id}/decision", named, {**first, "note": "typed twice"}) == view
    assert (await api.post(f"/cases/{case.id}/decision", ann, first, status=409))["code"] == "stale_lease"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("decision", {"choice": "allow", "reason": "other"}, "token"),
        ("decision", {"token": "one", "choice": "allow"}, "token"),
        ("decision", {"token": True, "choice": "allow"}, "token"),
        ("decision", {"token": 1}, "choice"),
        ("decision", {"token": 1, "choice": ["allow"]}, "choice"),
        ("decision", {"token": 1, "choice": "allow", "reason": 3}, "reason"),
        ("decision", {"token": 1, "choice": "allow", "severity": 1.5}, "severity"),
        ("decision", {"token": 1, "choice": "allow", "categories": ["spam"]}, "categories"),
        ("decision", {"token": 1, "choice": "allow", "categories": 5}, "categories"),
        ("decision", {"token": 1, "choice": "allow", "edits": {"a": 1}}, "edits"),
        ("decision", {"token": 1, "choice": "allow", "seconds": "long"}, "seconds"),
        ("decision", {"token": 1, "choice": "allow", "note": []}, "note"),
        ("decision", {"token": 1, "choice": "allow", "reviewer": "ben"}, None),
        ("skip", {"token": 1}, None),
        ("claim", {"case": "other"}, None),
        ("rescore", {"edits": []}, "edits"),
    ],
)
async def test_a_body_that_is_wrong_is_a_400_that_says_where(api: Api, path: str, body: object, param: str) -> None:
    case, ann = await api.room.put(), await api.key()
    await api.post("/queue/claim", ann)
    error = await api.post(f"/cases/{case.id}/{path}", ann, body, status=400)
    assert error["code"] == "invalid_request"
    assert param in (None, error["param"])


async def test_a_body_that_is_no_json_or_too_large_is_refused(api: Api) -> None:
    ann = await api.key()
    for content, status, code in ((b"{", 400, "invalid_json"), (b" " * (5 << 20), 413, "body_too_large")):
        response = await api.http.post("/api/cases/x/decision", headers=ann, content=content)
        assert checked(response, status)["code"] == code


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "offset=-1", "state=odd", "level=boss", "category=x", "colour=red"]
)
async def test_a_query_that_is_wrong_is_a_400(api: Api, query: str) -> None:
    assert (await api.get(f"/cases?{query}", await api.key(), 400))["code"] == "invalid_request"


async def test_cases_are_listed_by_what_is_asked_for(api: Api) -> None:
    ann = await api.key()
    now = api.room.now[0]
    ids = [(await api.room.put(deadline=now + i, source="redteam" if i else "guard")).id for i in range(3)]
    page = await api.get("/cases?source=redteam,drift&limit=1", ann)
    assert ([line["case"]["id"] for line in page["cases"]], page["more"]) == ([ids[1]], True)
    assert (await api.get("/cases?state=open&state=leased&offset=2", ann))["more"] is False
    assert (await api.get("/cases?state=closed", ann))["cases"] == []


@pytest.mark.parametrize("path", ["/queue", "/cases", "/cases/x", "/flags", "/stats/me", "/agreement", "/events"])
async def test_applications_and_strangers_have_no_business_here(api: Api, path: str) -> None:
    assert (await api.get(path, await api.key("app"), 403))["code"] == "role_not_allowed"
    assert (await api.get(path, {}, 401))["code"] == "invalid_api_key"


async def test_what_is_another_tenants_or_not_there_is_a_404(api: Api) -> None:
    theirs, admin = await api.room.put(tenant="other"), await api.key("admin")
    for id in (theirs.id, "none"):
        assert (await api.get(f"/cases/{id}", admin, 404))["code"] == "case_not_found"
    assert (await api.get("/flags/none", admin, 404))["code"] == "review_not_found"
    assert (await api.post("/webhooks/dead/none/resend", admin, status=404))["code"] == "review_not_found"


async def test_the_history_the_ledger_and_dead_webhooks_are_for_those_who_operate(api: Api) -> None:
    admin, ann = await api.key("admin"), await api.key()
    await api.room.flag("x", answer="Straße")
    await api.room.flag("y", at=api.room.now[0] + 1)
    api.room.shelf.letters = [{"id": "h", "tenant": "acme", "url": "https://a", "case": "c", "error": "e", "at": 1.0}]
    page = await api.get("/flags?limit=1&action=redact", admin)
    assert ([row["id"] for row in page["rows"]], page["more"]) == (["y"], True)
    assert [row["id"] for row in (await api.get("/flags?text=strasse", admin))["rows"]] == ["x"]
    assert (await api.get("/flags/x", admin))["answer"] == {FIELD: "Straße"}
    rows = (await api.get("/ledger?limit=1", admin))["rows"]
    assert [row["row"]["flag"] for row in rows] == ["x"]
    assert [row["id"] for row in (await api.get("/webhooks/dead", admin))["rows"]] == ["h"]
    await api.post("/webhooks/dead/h/resend", admin, status=204)
    assert api.room.shelf.sent == ["h"]
    for path in ("/flags", "/ledger", "/webhooks/dead"):
        await api.get(path, ann, 403)


async def test_nothing_of_it_stays_in_a_cache(api: Api) -> None:
    response = await api.http.get("/api/queue", headers=await api.key())
    assert response.headers["cache-control"] == "no-store"


async def test_changes_come_as_events_until_the_key_is_revoked(redis: Redis) -> None:
    async with serving(redis, beat=0.1) as api, asyncio.timeout(10):
        ann = await api.key()
        async with api.http.stream("GET", "/api/events", headers=ann) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = response.aiter_lines()
            assert await anext(lines) == "retry: 3000"
            await until(lambda: listeners(redis, 1))
            await api.room.put(tenant="other")
            case = await api.room.put()
            said = await anext(line async for line in lines if line.startswith("data: "))
            assert json.loads(said.removeprefix("data: ")) == {"case": case.id, "state": "open"}
            await api.store.revoke(ann["authorization"].removeprefix("Bearer "))
            await api.ring.refresh()
            await api.room.put()
            assert [line async for line in lines if line.startswith("data: ")] == []
        await until(lambda: listeners(redis, 0))


async def listeners(redis: Redis, count: int) -> bool:
    """Whether so many listen to the queue's changes."""
    found: list[tuple[bytes | str, int]] = await redis.pubsub_numsub("{wardgate}:review:changed")
    return found[0][1] == count


async def test_an_open_gateway_tells_people_apart_by_whatever_key_they_send(redis: Redis) -> None:
    async with serving(redis, tenants=False) as api:
        case = await api.room.put(tenant="open")
        ann, ben = {"authorization": "Bearer ann"}, {"authorization": "Bearer ben"}
        await api.post(f"/cases/{case.id}/claim", ann)
        await api.post(f"/cases/{case.id}/claim", ben, status=409)
        assert (await api.get("/queue", {}))["counts"]["leased"] == 1
        assert "ann" not in (await api.get("/cases", ben))["cases"][0]["reviewer"]


async def test_the_openapi_document_names_every_route_and_what_it_takes(api: Api) -> None:
    document = (await api.http.get("/api/openapi.json")).json()
    paths = document["paths"]
    actions = ("claim", "renew", "skip", "release", "decision", "undo", "supersede", "rescore", "reveal")
    wanted = ["queue", "queue/claim", "cases", "cases/{case}", *(f"cases/{{case}}/{name}" for name in actions)]
    wanted += ["flags", "flags/{flag}", "stats/me", "agreement", "ledger", "events", "webhooks/dead"]
    assert set(paths) == {f"/api/{path}" for path in [*wanted, "webhooks/dead/{hook}/resend"]}
    decide = paths["/api/cases/{case}/decision"]["post"]
    schema = decide["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["choice", "token"]
    assert "stale_lease" in decide["responses"]["409"]["description"]
    assert "422" not in json.dumps(document)
    assert document["components"]["schemas"].keys() >= {"CaseShape", "Work", "View", "Decision"}
    names = {p["name"] for p in paths["/api/cases"]["get"]["parameters"]}
    assert names == {"state", "source", "category", "level", "offset", "limit"}
