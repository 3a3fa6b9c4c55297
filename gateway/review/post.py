"""Carries letters out: signed, to the address as it is configured and nowhere else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac

import httpx

TIMEOUT = 10.0
"""Seconds for a try as a whole."""


class Undelivered(Exception):
    """The text says why, and nothing of what the other side answered."""


def client() -> httpx.AsyncClient:
    """Follows no redirects, and asks no proxy that the environment names."""
    return httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=TIMEOUT)


async def post(http: httpx.AsyncClient, url: str, secret: str, body: bytes, now: int) -> None:
    """`now`: Unix time, part of what is signed, so that the receiver can refuse old letters; Undelivered unless 2xx."""
    headers = {
        "content-type": "application/json",
        "user-agent": "wardgate",
        "x-wardgate-timestamp": str(now),
        "x-wardgate-signature": signature(secret, now, body),
    }
    try:
        async with asyncio.timeout(TIMEOUT), http.stream("POST", url, content=body, headers=headers) as answer:
            status, fine = answer.status_code, answer.is_success  # the body may be endless: it is not read
    except (TimeoutError, httpx.TimeoutException):
        raise Undelivered(f"no answer within {TIMEOUT:.0f} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Undelivered(f"no connection: {type(error).__name__}") from None
    if not fine:
        raise Undelivered(f"status {status}")


def signature(secret: str, now: int, body: bytes) -> str:
    return f"v1={hmac.new(secret.encode(), f'{now}.'.encode() + body, hashlib.sha256).hexdigest()}"
