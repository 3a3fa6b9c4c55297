from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from gateway.export.command import export_cases, print_summary, request_of
from gateway.export.folder import ExportError
from gateway.reach import Unreachable
from gateway.review.case import Case
from gateway.settings import Settings
from guards.policy import Document
from tests.conftest import connect
from tests.gateway.review.room import CONFIG, KEYS, TENANTS, Room, person

ANN = person("ann")


@pytest.fixture
def place(redis_url: str, tmp_path: Path) -> Settings:
    environ = {"WARDGATE_REDIS_URL": redis_url, "WARDGATE_DATA": str(tmp_path), "WARDGATE_ENCRYPTION_KEYS": KEYS}
    return Settings.read(environ)


def filled(url: str) -> list[dict[str, Any]]:
    """A decided case of each tenant and one that waits, in a Redis that is emptied first."""

    async def go(room: Room) -> list[dict[str, Any]]:
        await room.closed(ANN, "allow")
        await room.closed(person("bo", tenant="other"), "block", tenant="other")
        await room.put(second=False)
        return await room.rows("export")

    rows: list[dict[str, Any]] = in_room(url, go, empty=True)
    return rows


def in_room(url: str, task: Callable[[Room], Any], *, empty: bool = False) -> Any:
    async def go() -> Any:
        redis: Redis = connect(url)
        if empty:
            await redis.flushall()
        try:
            return await task(Room.of(redis))
        finally:
            await redis.aclose()

    return asyncio.run(go())


def lines(path: Path) -> list[Any]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_decided_cases_become_files_and_the_ledger_knows(redis_url: str, place: Settings, tmp_path: Path) -> None:
    assert filled(redis_url) == []
    out = tmp_path / "set"
    wanted = request_of("kto", tenant="acme", validation=0.0)
    manifest = export_cases(place, Document.model_validate(CONFIG), wanted, out)
    (row,) = lines(out / "train.jsonl")
    assert (row["label"], row["completion"][0]["content"]) == (True, "Ask [EMAIL] about Project Falcon.")
    assert orjson.loads((out / "manifest.json").read_bytes()) == manifest
    assert sorted(p.name for p in out.iterdir()) == ["manifest.json", "train.jsonl", "validation.jsonl"]
    (told,) = in_room(redis_url, lambda room: room.rows("export"))
    assert (told["tenant"], told["format"], told["cases"]) == ("acme", "kto", 1)
    assert told["files"]["train.jsonl"] == manifest["files"]["train.jsonl"]["sha256"]


def test_without_a_tenant_all_are_exported(redis_url: str, place: Settings, tmp_path: Path) -> None:
    filled(redis_url)
    wanted = request_of("guard", validation=0.0)
    manifest = export_cases(place, Document.model_validate(CONFIG), wanted, tmp_path / "set")
    assert manifest["cases"]["read"] == 2


def test_texts_whose_key_is_gone_are_counted(redis_url: str, place: Settings, tmp_path: Path) -> None:
    filled(redis_url)
    in_room(redis_url, lambda room: room.vault.destroy("acme"))
    wanted = request_of("sft", tenant="acme")
    manifest = export_cases(place, Document.model_validate(CONFIG), wanted, tmp_path / "set")
    assert manifest["cases"]["left_out"] == {"text_gone": 1}


def test_a_folder_that_is_there_is_left_alone(place: Settings, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there already"):
        export_cases(place, Document.model_validate(CONFIG), request_of("sft"), tmp_path)


def test_what_fails_leaves_no_file(redis_url: str, place: Settings, tmp_path: Path) -> None:
    filled(redis_url)

    async def spoil(room: Room) -> None:
        case: Case = await room.closed(ANN)
        await room.queue.replace_matter(case.id, b"no JSON")

    in_room(redis_url, spoil)
    with pytest.raises(Unreachable):
        export_cases(place, Document.model_validate(CONFIG), request_of("sft"), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given", [{"format": "csv"}, {"format": "sft", "category": "x"}, {"format": "sft", "since": "?"}]
)
def test_a_mistake_is_told_with_what_to_write(given: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match=r"use one of|write an age"):
        request_of(**given)


def test_the_summary_says_why_cases_were_left_out(
    redis_url: str, place: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(redis_url)
    out = tmp_path / "set"
    manifest = export_cases(place, Document.model_validate(CONFIG), request_of("dpo"), out)
    print_summary(manifest, out)
    assert "left out: 2 nothing in this format" in capsys.readouterr().err


def test_an_audit_sample_that_waits_is_held_out_already(redis_url: str, place: Settings, tmp_path: Path) -> None:
    filled(redis_url)
    in_room(redis_url, lambda room: room.put(source="audit"))
    document = Document.model_validate(CONFIG | {"tenants": TENANTS})
    manifest = export_cases(place, document, request_of("guard"), tmp_path / "set")
    assert manifest["cases"]["left_out"] == {"held_out": 2, "unresolved": 1}
