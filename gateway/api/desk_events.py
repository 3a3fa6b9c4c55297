"""Changes of cases as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from gateway.errors import WardgateError

BEAT = 15.0
"""Seconds between signs of life, at each of which the key must still be good."""


async def events(
    changes: AsyncGenerator[dict[str, Any], None], check: Callable[[], Awaitable[object]], beat: float
) -> AsyncIterator[bytes]:
    """Frames named `changed`. It ends once `check` raises: the key was revoked."""
    upcoming = asyncio.ensure_future(anext(changes))
    yield b"retry: 3000\n\n"
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=beat)
            await check()
            if not done:
                yield b": still here\n\n"
                continue
            yield b"event: changed\ndata: " + orjson.dumps(upcoming.result()) + b"\n\n"
            upcoming = asyncio.ensure_future(anext(changes))
    except (StopAsyncIteration, WardgateError):
        return
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)
        await changes.aclose()
