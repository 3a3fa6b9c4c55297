"""`GET /v1/models`: what the caller may ask for."""

from __future__ import annotations

from fastapi import APIRouter, Request

from gateway.access import Access
from gateway.config import Config


def model_routes(config: Config, access: Access) -> APIRouter:
    """Routes that list models, in OpenAI's shape."""
    routes = APIRouter()

    @routes.get("/v1/models")
    async def models(request: Request) -> dict[str, object]:
        plan, tenant = config.plan, access.caller(request.scope).tenant
        rows = [{"id": m, "object": "model", "created": 0, "owned_by": "wardgate"} for m in plan.models_of(tenant)]
        return {"object": "list", "data": rows}

    return routes
