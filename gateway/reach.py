"""How commands reach the gateway's Redis: the one of the environment, or the embedded one of the data folder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.live.embedded import EmbeddedRedis, EmbeddedRedisError
from gateway.settings import Settings

T = TypeVar("T")


class Unreachable(Exception):
    """There is no Redis to ask; the message says how to reach it."""


def ask(settings: Settings, question: Callable[[Redis], Awaitable[T]], *, begin: bool = False) -> T:
    """Ask; the embedded Redis is started for the question if no gateway runs. `begin`: make the folder if need be."""
    embedded = None if settings.redis_url else EmbeddedRedis(settings.data)
    if embedded is not None and not begin and not settings.data.exists():
        raise Unreachable(
            f"{settings.data} does not exist. Set WARDGATE_DATA to the gateway's folder, or WARDGATE_REDIS_URL."
        )
    try:
        if embedded is not None:
            embedded.start()
        return asyncio.run(_ask(settings.redis_url or (embedded.url if embedded else ""), question))
    except EmbeddedRedisError as error:
        raise Unreachable(str(error)) from None
    except (RedisError, OSError, ValueError) as error:
        raise Unreachable(f"Redis does not answer: {error}. Set WARDGATE_REDIS_URL to the gateway's Redis.") from None
    finally:
        if embedded is not None:
            embedded.stop()


async def _ask(url: str, question: Callable[[Redis], Awaitable[T]]) -> T:
    redis = Redis.from_url(url)
    try:
        return await question(redis)
    finally:
        await redis.aclose()


def place(settings: Settings) -> str:
    """Where that Redis is, without a password."""
    if settings.redis_url is None:
        return str(settings.data)
    parts = urlsplit(settings.redis_url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
