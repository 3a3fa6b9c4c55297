"""OpenAI's error body for everything that goes wrong outside the hot path."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.errors import MethodNotAllowed, UnknownPath, WardgateError


def install(web: FastAPI) -> None:
    """Register the handlers."""
    web.add_exception_handler(WardgateError, _ours)
    web.add_exception_handler(HTTPException, _http)
    web.add_exception_handler(Exception, _ours)


def _answer(error: WardgateError) -> JSONResponse:
    return JSONResponse(error.body(), error.status, headers=error.headers)


async def _ours(_: Request, error: Exception) -> JSONResponse:
    return _answer(error if isinstance(error, WardgateError) else WardgateError("Internal error."))


async def _http(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        return _answer(MethodNotAllowed(f"{request.method} is not allowed here."))
    if status == 404:
        return _answer(UnknownPath("There is nothing at this path. The chat API is at /v1/chat/completions."))
    return _answer(WardgateError("Internal error."))
