from __future__ import annotations

import logging
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.exchange import FlagPart
from gateway.live.spool import Spool, SpoolFull


def part(id: str = "a", seq: int = 0, at: float = 1000.0, size: int = 10) -> FlagPart:
    return FlagPart(id=id, seq=seq, at=at, body={"answer": {"content": "ü" * size}})


def test_parts_come_back_oldest_first_as_they_were(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    parts = [part("b", at=999.123456), part("a", 2, at=1000.0), part("a", 10), part("c", at=1753000000.1234567)]
    for each in reversed(parts):
        spool.write(each)
    assert list(spool.parts()) == parts
    assert spool.count == 4


def test_a_part_written_twice_is_one_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(part())
    spool.write(part())
    assert list(spool.parts()) == [part()]
    assert spool.count == 1


def test_a_spool_that_was_never_used_is_empty(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "none")
    assert list(spool.parts()) == []
    assert spool.count == 0


@pytest.mark.parametrize("id", ["../../etc/passwd", "a/b\\c:d", "", ".", "ü 🙂\n\0", "%2F", "-", "x" * 5000])
def test_ids_may_hold_any_character(tmp_path: Path, id: str) -> None:
    spool = Spool(tmp_path / "spool")
    spool.write(part(id))
    assert [each.id for each in spool.parts()] == [id]
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]
    assert spool.remove(part(id))
    assert os.listdir(tmp_path / "spool") == []


def test_long_ids_that_differ_at_their_end_do_not_meet(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(part("x" * 300 + "1"))
    spool.write(part("x" * 300 + "2"))
    assert len(list(spool.parts())) == 2


def test_a_full_spool_refuses_until_room_is_made(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1000)
    spool.write(part("a", size=300))
    with pytest.raises(SpoolFull):
        spool.write(part("b", size=300))
    assert [each.id for each in spool.parts()] == ["a"]
    assert spool.remove(part("a"))
    spool.write(part("b", size=300))


def test_room_made_by_another_process_is_seen(tmp_path: Path) -> None:
    spool, other = Spool(tmp_path, max_bytes=1000), Spool(tmp_path)
    spool.write(part("a", size=300))
    other.remove(part("a"))
    spool.write(part("b", size=300))


def test_a_spool_in_an_unwritable_place_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Spool(tmp_path / "file" / "spool").write(part())


def test_a_folder_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.write(part("a"))
    shutil.rmtree(tmp_path / "spool")
    with pytest.raises(FileNotFoundError):
        spool.write(part("b"))
    spool.write(part("c"))
    assert [each.id for each in spool.parts()] == ["c"]


def test_broken_files_are_passed_over_and_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path)
    spool.write(part())
    (tmp_path / "0000-broken.json").write_text('{"id": "b", ')
    (tmp_path / "0001-wrong.json").write_text("[1]")
    with caplog.at_level(logging.ERROR):
        assert list(spool.parts()) == [part()]
        assert list(spool.parts()) == [part()]
    assert len(caplog.records) == 2
    assert (spool.unreadable, spool.count) == (2, 1)


def test_what_a_killed_writer_left_unfinished_is_not_a_part_and_goes_in_time(tmp_path: Path) -> None:
    fresh, stale = tmp_path / ".fresh.tmp", tmp_path / ".stale.tmp"
    fresh.write_text("{")
    stale.write_text("{")
    os.utime(stale, (time.time() - 3600,) * 2)
    spool = Spool(tmp_path)
    spool.write(part())
    assert list(spool.parts()) == [part()]
    assert (fresh.exists(), stale.exists()) == (True, False)


def test_only_the_owner_can_read_what_is_spooled(tmp_path: Path) -> None:
    Spool(tmp_path / "spool").write(part())
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()] == [0o600]


def test_each_part_is_removed_by_one_of_many(tmp_path: Path) -> None:
    parts = [part(str(i)) for i in range(50)]
    spools = [Spool(tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(spools[0].write, parts))
        removed = list(pool.map(lambda spool: sum(spool.remove(each) for each in spool.parts()), spools))
    assert sum(removed) == 50
    assert os.listdir(tmp_path) == []


def test_a_spool_is_quiet_until_something_comes(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool, other = Spool(folder), Spool(folder)
    assert not spool.quiet, "nobody has looked yet"
    assert list(spool.parts()) == []
    assert spool.quiet
    other.write(part())
    assert not spool.quiet
    assert list(spool.parts()) == [part()]
    assert not spool.quiet
    spool.remove(part())
    list(spool.parts())
    assert not spool.quiet, "a change may still hide behind the last one"
    settled = time.time() - 5
    os.utime(folder, (settled, settled))
    list(spool.parts())
    assert spool.quiet
