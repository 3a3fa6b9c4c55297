from __future__ import annotations

import asyncio

import pytest

from gateway.api.asgi import Begun


async def test_a_coroutine_that_waits_for_nothing_is_over_at_once() -> None:
    done: list[int] = []

    async def quick() -> None:
        done.append(1)

    assert Begun.start(quick()) is None
    assert done == [1]


async def test_a_coroutine_that_waits_goes_on_when_awaited() -> None:
    gates = asyncio.Event(), asyncio.Event()
    passed: list[int] = []

    async def slow() -> None:
        for number, gate in enumerate(gates):
            await gate.wait()
            passed.append(number)

    begun = Begun.start(slow())
    assert begun is not None

    async def finish() -> None:
        await begun

    finishing = asyncio.create_task(finish())
    for number, gate in enumerate(gates):
        await asyncio.sleep(0.01)
        assert passed == list(range(number))
        gate.set()
    await finishing
    assert passed == [0, 1]


async def test_a_cancelled_wait_cancels_the_coroutine() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    begun = Begun.start(forever())
    assert begun is not None

    async def finish() -> None:
        await begun

    finishing = asyncio.create_task(finish())
    await asyncio.sleep(0.01)
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    assert ended == ["cancelled"]
