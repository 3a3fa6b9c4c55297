"""Paths that the config lists under `passthrough`: handed to the model server as they are, judged by nobody."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from gateway.access import Plans
from gateway.admission import Visit
from gateway.api.asgi import ClientWatch, Headers, Receive, Scope, Send, encode_headers, header, parse_object, read_body
from gateway.api.door import Door, given_id, send_error
from gateway.errors import MethodNotAllowed, UpstreamBroken, WardgateError
from gateway.plan import NO_POLICY, Plan
from gateway.record import Record
from gateway.upstream.protocol import Answer, ModelServer
from guards.policy import Tenant

LOG = logging.getLogger("wardgate")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ASKED = (b"accept", b"content-type", b"content-encoding")
"""Headers that reach the model server; who asks is none of its business."""
UNREAD = "application/octet-stream"
"""Type of a body without one that is no JSON here: a server might find JSON in it, and a model that nobody checked."""
ANSWERED = ("content-type", "content-disposition", "cache-control", "retry-after")


class Aim(NamedTuple):
    """Where a request goes."""

    server: ModelServer
    body: bytes
    model: str


@dataclass(frozen=True, slots=True)
class Passthrough:
    """A raw ASGI application for all of them."""

    plans: Plans
    door: Door

    def takes(self, path: str) -> bool:
        return path in self.plans.plan.document.passthrough

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        id = given_id(scope) or secrets.token_hex(16)
        await self.door.let_in(scope, receive, send, Relay(self.plans.plan, scope, id, scope["path"]))


@dataclass(slots=True)
class Relay:
    """Implements `Guest`: one request."""

    plan: Plan
    scope: Scope
    id: str
    route: str
    model: str = "unknown"
    status: int = 200
    record: Record | None = None
    """Never: nothing is judged."""
    started: bool = False

    async def serve(self, visit: Visit, receive: Receive, send: Send) -> None:
        method = self.scope["method"]
        if method not in METHODS:
            raise MethodNotAllowed(f"{method} is not handed on.", headers={"allow": ", ".join(METHODS)})
        limits = self.plan.document.server
        body = await read_body(self.scope, receive, limits.max_body, limits.body_timeout)
        request = named(body, header(self.scope, b"content-type") or "")
        aim = aimed(self.plan, visit.tenant, request, body)
        await visit.admit(request)
        self.model = aim.model or self.model
        headers = {name.decode(): value for name in ASKED if (value := header(self.scope, name)) is not None}
        if body and not body.lstrip().startswith(b"{"):
            headers.setdefault("content-type", UNREAD)
        with ClientWatch(receive), await aim.server.open(target(self.scope), aim.body, headers, method) as answer:
            await self._hand_on(answer, send)

    async def _hand_on(self, answer: Answer, send: Send) -> None:
        if not 200 <= answer.status < 300 and answer.status < 400:
            raise UpstreamBroken(f"The upstream answered with status {answer.status} in place of an answer.")
        self.started, self.status = True, answer.status
        kept = encode_headers((name, value) for name in ANSWERED if (value := answer.headers.get(name)))
        await send({"type": "http.response.start", "status": self.status, "headers": [*kept, *self.headers()]})
        async for piece in answer.chunks():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        answer.release()
        await send({"type": "http.response.body", "body": b""})

    def headers(self) -> Headers:
        return [
            (b"x-request-id", self.id.encode()),
            (b"x-wardgate-policy", self.plan.guarded[NO_POLICY].header),
            (b"x-wardgate-action", b"allow"),
            (b"x-wardgate-guard-ms", b"0.00"),
        ]

    async def fail(self, send: Send, error: WardgateError) -> None:
        """Once the status has left, the connection is cut: a body of unknown form has no place for an error."""
        if self.started:
            LOG.warning("request %s was cut short: %s", self.id, error.code)
            return
        self.status = error.status
        await send_error(send, self.route, error, self.headers())


def aimed(plan: Plan, tenant: Tenant | None, request: dict[str, Any], body: bytes) -> Aim:
    """The upstream of the model that the body names, and the body with the model's name there.

    Where it names none, the first upstream that serves the caller.
    """
    if request.get("model") is None:
        return Aim(first(plan, tenant), body, "")
    name = request["model"]
    served = plan.serve(name, tenant)
    if served.upstream_model != name:
        body = orjson.dumps({**request, "model": served.upstream_model})
    return Aim(served.server, body, str(name))


def named(body: bytes, content_type: str) -> dict[str, Any]:
    """A JSON body, read strictly: a model that only the server behind could read in it would be nobody's to check."""
    if body.strip() and ("json" in content_type.lower() or body.lstrip().startswith(b"{")):
        return parse_object(body)
    return {}


def first(plan: Plan, tenant: Tenant | None) -> ModelServer:
    used = {plan.models[name].upstream for name in plan.models_of(tenant)}
    names = [u.name for u in plan.document.upstreams if u.name in used or tenant is None]
    return plan.servers[names[0]]


def target(scope: Scope) -> str:
    """The path as the upstream has it: what is not below `/v1` stands beside it."""
    path: str = scope["path"]
    query = scope["query_string"].decode("latin-1")
    below = path.removeprefix("/v1") if path.startswith("/v1/") else f"/..{path}"
    return f"{below}?{query}" if query else below
