"""The stream of changes that pages listen to."""

from __future__ import annotations

import asyncio

import httpx

from tests.gateway.console.cases import opened
from tests.gateway.console.conftest import Console
from tests.gateway.console.test_entrance import signed_in


async def heard(stream: httpx.Response, lines: list[str], heard: asyncio.Event) -> None:
    async for line in stream.aiter_lines():
        lines.append(line)
        if line.startswith("data:"):
            heard.set()


async def test_a_change_is_told_to_its_tenant_alone(served: Console) -> None:
    mine: list[str] = []
    others: list[str] = []
    told, leaked = asyncio.Event(), asyncio.Event()
    async with (
        signed_in(served) as client,
        signed_in(served, tenant="other") as other,
        client.stream("GET", "events") as one,
        other.stream("GET", "events") as two,
    ):
        assert one.headers["content-type"].startswith("text/event-stream")
        listening = [asyncio.create_task(heard(one, mine, told)), asyncio.create_task(heard(two, others, leaked))]
        await asyncio.sleep(0.3)
        case = await opened(served)
        await asyncio.wait_for(told.wait(), 10)
        await asyncio.sleep(0.3)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    assert any(case.id in line and '"open"' in line for line in mine)
    assert "event: changed" in mine
    assert not leaked.is_set()


async def test_it_names_no_text_of_a_case(served: Console) -> None:
    lines: list[str] = []
    told = asyncio.Event()
    async with signed_in(served) as client, client.stream("GET", "events") as stream:
        listening = asyncio.create_task(heard(stream, lines, told))
        await asyncio.sleep(0.3)
        await opened(served)
        await asyncio.wait_for(told.wait(), 10)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert "Jonas" not in "".join(lines)
