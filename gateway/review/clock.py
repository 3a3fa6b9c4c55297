"""What happens to cases by the clock: decisions take effect, deadlines pass, leases end."""

from __future__ import annotations

import asyncio
import logging

from redis.exceptions import RedisError

from gateway.review.queue import ReviewQueue

LOG = logging.getLogger(__name__)
TICK = 0.5
"""Seconds."""


async def settle_forever(queue: ReviewQueue) -> None:
    """Every process may do it at once: each case is settled by one of them."""
    healthy = True
    while True:
        await asyncio.sleep(TICK)
        try:
            await queue.settle()
            healthy = True
        except (RedisError, OSError) as error:
            if healthy:
                LOG.warning("Redis is away, cases wait: %s", type(error).__name__)
            healthy = False
        except Exception as error:  # a clock that stops would let every case wait for ever
            LOG.error("cases cannot be settled now: %s", type(error).__name__)
