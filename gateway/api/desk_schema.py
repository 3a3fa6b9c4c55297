"""Adds routes that read what they are asked by themselves, and says in the OpenAPI document what that is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

Extra = Mapping[str, Any]
Answering = Callable[[Request], Awaitable[Response]]
Schemas = Mapping[str, Mapping[str, Any]]
"""Name -> JSON Schema."""
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {name: {"type": ["string", "null"]} for name in ("message", "type", "param", "code")},
        }
    },
}
REFUSALS = {
    400: "Something is missing or wrong; `param` says what.",
    401: "The key is not known.",
    403: "The key's role may not do this.",
    404: "There is no such thing, or it is another tenant's.",
    409: "`stale_lease`: the case is not yours any more. `not_claimable`, `not_undoable`: it is too late.",
}


class Routes:
    """Below one prefix."""

    def __init__(self, router: APIRouter) -> None:
        self._router = router

    def get(self, path: str, answering: Answering, about: str, model: Any, query: Schemas | None = None) -> None:
        self._add("GET", path, answering, about, model=model, extra={"parameters": in_query(query or {})})

    def post(
        self,
        path: str,
        answering: Answering,
        about: str,
        model: Any,
        *,
        body: Schemas | None = None,
        needed: Sequence[str] = (),
    ) -> None:
        """`model`: None where nothing is answered but 204."""
        extra = {"requestBody": in_body(body, needed)} if body else {}
        self._add("POST", path, answering, about, model=model, extra=extra)

    def _add(self, method: str, path: str, answering: Answering, about: str, *, model: Any, extra: Extra) -> None:
        done = 204 if model is None else 200
        responses = {**refusals(), done: {"description": "Done.", **({} if model is None else {"model": model})}}
        parameters = [*in_path(path), *extra.get("parameters", ())]
        self._router.add_api_route(
            path,
            answering,
            methods=[method],
            summary=about,
            status_code=done,
            responses=responses,
            response_class=Response,
            openapi_extra={**extra, "parameters": parameters, "security": [{"key": []}]},
        )


def refusals() -> dict[int | str, dict[str, Any]]:
    content = {"content": {"application/json": {"schema": ERROR}}}
    return {code: {"description": why, **content} for code, why in REFUSALS.items()}


def in_path(path: str) -> list[dict[str, Any]]:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def in_query(schemas: Schemas) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "required": False, "schema": dict(s)} for name, s in schemas.items()]


def in_body(schemas: Schemas, needed: Sequence[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": dict(schemas), "required": list(needed), "additionalProperties": False}
    return {"required": bool(needed), "content": {"application/json": {"schema": schema}}}
