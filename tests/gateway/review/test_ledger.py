"""The ledger: whoever changes, removes, adds or reorders a row is found out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from gateway.review.ledger import Ledger, chained

Fields = list[dict[bytes, bytes]]
Change = Callable[[Fields], None]
STREAM = "{wardgate}:ledger"


async def filled(redis: Redis, rows: int = 5) -> Ledger:
    ledger = Ledger(redis)
    for i in range(rows):
        await ledger.append({"kind": "access", "number": i})
    return ledger


async def test_rows_are_read_in_order_and_fit(redis: Redis) -> None:
    ledger = await filled(redis)
    assert [row.body["number"] async for row in ledger.rows()] == list(range(5))
    assert [row.body["number"] for row in await ledger.latest(2)] == [4, 3]
    assert await ledger.verify() is None


async def test_an_empty_ledger_fits(redis: Redis) -> None:
    assert await Ledger(redis).verify() is None


async def test_rows_of_many_at_once_make_one_chain(redis: Redis) -> None:
    ledger = Ledger(redis)
    await asyncio.gather(*(ledger.append({"number": i}) for i in range(40)))
    assert {row.body["number"] async for row in ledger.rows()} == set(range(40))
    assert (await ledger.head())[0] == 40
    assert await ledger.verify() is None


async def test_pages_do_not_lose_rows(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.review.ledger.PAGE", 2)
    ledger = await filled(redis)
    assert [row.body["number"] async for row in ledger.rows()] == list(range(5))
    assert [row.body["number"] async for row in ledger.rows(count=3)] == [0, 1, 2]


async def rewrite(redis: Redis, change: Change) -> None:
    """As somebody with access to Redis would, who leaves the head alone."""
    found: Any = await redis.xrange(STREAM)
    rows: Fields = [fields for _, fields in found]
    change(rows)
    await redis.delete(STREAM)
    for fields in rows:
        entry: Any = fields
        await redis.xadd(STREAM, entry)


def altered(rows: Fields) -> None:
    rows[2][b"data"] = orjson.dumps({"kind": "access", "number": 99})


def altered_with_its_hash(rows: Fields) -> None:
    altered(rows)
    rows[2][b"hash"] = chained(rows[1][b"hash"].decode(), rows[2][b"data"]).encode()


def removed(rows: Fields) -> None:
    del rows[1]


def swapped(rows: Fields) -> None:
    rows[1], rows[2] = rows[2], rows[1]


def added(rows: Fields) -> None:
    rows.insert(3, {b"data": b"{}", b"hash": b"0"})


def cut(rows: Fields) -> None:
    del rows[-1]


@pytest.mark.parametrize(
    ("change", "number"),
    [(altered, 3), (altered_with_its_hash, 4), (removed, 2), (swapped, 2), (added, 4), (cut, 5)],
)
async def test_what_was_touched_is_found(redis: Redis, change: Change, number: int) -> None:
    ledger = await filled(redis)
    await rewrite(redis, change)
    finding = await ledger.verify()
    assert finding is not None
    assert finding.number == number


async def test_a_row_put_in_at_the_end_is_found(redis: Redis) -> None:
    ledger = await filled(redis)
    await redis.xadd(STREAM, {"data": b"{}", "hash": b"0"})
    assert (await ledger.verify() or pytest.fail("not found")).number == 6


async def test_a_row_that_fits_but_that_the_head_does_not_know_is_found(redis: Redis) -> None:
    ledger = await filled(redis)
    _, head = await ledger.head()
    await redis.xadd(STREAM, {"data": b"{}", "hash": chained(head, b"{}")})
    assert (await ledger.verify() or pytest.fail("not found")).number == 6


@pytest.mark.parametrize("rows", [5, 6])
async def test_a_chain_written_anew_is_found_by_the_head(redis: Redis, rows: int) -> None:
    ledger, before = await filled(redis), ""
    await redis.delete(STREAM)
    for i in range(rows):
        before = chained(before, data := orjson.dumps({"number": i + 100}))
        await redis.xadd(STREAM, {"data": data, "hash": before})
    assert (await ledger.verify() or pytest.fail("not found")).number == 5


async def test_rows_without_a_head_are_found(redis: Redis) -> None:
    ledger = await filled(redis)
    await redis.delete(ledger.keys[1])
    assert (await ledger.verify() or pytest.fail("not found")).number == 1


async def test_rows_that_come_while_others_verify_are_no_finding(redis: Redis) -> None:
    ledger = await filled(redis)

    async def come() -> None:
        for i in range(200):
            await ledger.append({"number": i})

    coming = asyncio.create_task(come())
    while not coming.done():
        assert await ledger.verify() is None
    await coming


async def test_a_script_that_links_to_an_old_head_does_nothing(redis: Redis) -> None:
    ledger = await filled(redis)
    link = await ledger.link({"kind": "access"})
    await ledger.append({"kind": "reveal"})
    script = redis.register_script(f"{Ledger.LINK}\nreturn link(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])")
    run: Awaitable[object] = script(keys=list(ledger.keys), args=list(link))
    assert await run is None
    assert await ledger.verify() is None
