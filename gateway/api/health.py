"""`/health/live`, `/health/ready` and `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from gateway.config import Config
from gateway.live.recorder import Recorder
from gateway.metrics import Metrics

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def health_routes(config: Config, recorder: Recorder, metrics: Metrics) -> APIRouter:
    """Routes for orchestrators and dashboards."""
    routes = APIRouter()

    @routes.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/health/ready")
    async def ready() -> JSONResponse:
        healthy = await recorder.answers()
        body: dict[str, object] = {
            "status": "ok" if healthy else "degraded",
            "redis": "ok" if healthy else "away: flags go to the spool",
            "spooled": recorder.spooled,
            "policies": [g.label for g in config.plan.guarded.values()],
            "config": config.error or "ok",
        }
        return JSONResponse(body, 200 if healthy else 503)

    @routes.get("/metrics")
    def series() -> Response:
        return Response(metrics.render(), media_type=EXPOSITION)

    return routes
