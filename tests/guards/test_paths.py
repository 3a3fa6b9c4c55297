"""Lists of folders: where a path leads, however it is written."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.paths import PathError, PathList

LIST = PathList.of(["/srv/data", "/home/*/public", "data", "C:/data"])


@pytest.mark.parametrize(
    "path",
    [
        "/srv/data",
        "/srv/data/",
        "/srv/data/a/b.txt",
        "/srv//data/./a",
        "/srv/x/../data/a",
        "/home/ada/public/a",
        "data/a",
        "./data/a",
        "x/../data/a",
        "c:\\data\\a",
        "/srv/data/50%25 off.txt",
        "/srv/data/naïve.txt",
    ],
)
def test_what_lies_in_a_listed_folder_is_allowed(path: str) -> None:
    assert LIST.allows(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/srv",
        "/srv/database",
        "/srv/data/../secret",
        "/srv/data/..",
        "/srv/data/a/../../../etc/passwd",
        "/srv/data\\..\\..\\etc",
        "/srv/data/%2e%2e/secret",
        "/srv/data/%2E%2E%2Fsecret",
        "/srv/data/%252e%252e/secret",
        "/srv/data/%25252e%25252e/secret",
        "/srv/data/．．/secret",
        "/srv/data/％2e％2e/secret",
        "/srv/data/.\u200b./secret",
        "/srv/data/a\x00.txt",
        "/srv/data/a%00.txt",
        "/srv/data/...",
        "/srv/data/.. /secret",
        "/home/public",
        "/home/a/b/public",
        "/home/../public",
        "../data/a",
        "data/../../data/a",
        "~/data",
        "~root/data",
        "//srv/data/a",
        "\\\\srv\\data",
        "file:///srv/data/a",
        "C:data",
        "D:/data",
        "/srv/data/" + "a" * 5000,
        "/srv/data/%" + "25" * 20 + "2e",
    ],
)
def test_what_leads_out_of_it_or_could_is_not(path: str) -> None:
    assert not LIST.allows(path)


def test_a_dot_stands_for_all_relative_paths() -> None:
    here = PathList.of(["."])
    assert here.allows("a/b")
    assert not any(map(here.allows, ["/a", "../a", "~/a", "a/../../b", "file:a", "http://a"]))


@pytest.mark.parametrize("entry", ["", "../a", "//a", "file:///a", "~/a"])
def test_what_is_no_folder_cannot_be_listed(entry: str) -> None:
    with pytest.raises(PathError):
        PathList.of([entry])


PIECES = st.sampled_from(
    ["..", ".", "data", "srv", "/", "\\", "%2e", "%2f", "%25", "．", "／", "…", "\u200b", "~", "a", "C:", " ", ""]
)


@given(st.lists(PIECES, max_size=14).map("".join), st.integers(0, 4))
def test_what_is_allowed_stays_in_its_folder_however_often_it_is_decoded(text: str, times: int) -> None:
    path = f"/srv/data/{text}"
    if LIST.allows(path):
        for _ in range(times):
            path = unquote(path)
        plain = posixpath.normpath(path.replace("\\", "/"))
        assert plain == "/srv/data" or plain.startswith("/srv/data/")


@given(st.text(max_size=60))
def test_any_text_gets_an_answer(text: str) -> None:
    LIST.allows(text)
    LIST.allows("/srv/data/" + text)
