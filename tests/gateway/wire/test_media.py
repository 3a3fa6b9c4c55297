"""The media of a request, in the shapes of every surface."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.media import media_of, without_media

URL = "https://images.example.org/a.png"
DATA = "data:image/png;base64,AAAA"


def found(*parts: object) -> list[tuple[str, str, str]]:
    """Kind, form and path below the first message of each medium."""
    request = {"messages": [{"role": "user", "content": list(parts)}]}
    return [(m.kind, m.form, m.path.removeprefix("messages[0].content")) for m in media_of(request)]


@pytest.mark.parametrize(
    ("part", "medium"),
    [
        ({"type": "image_url", "image_url": {"url": URL}}, ("image", "url", "[0].image_url.url")),
        ({"type": "image_url", "image_url": URL}, ("image", "url", "[0].image_url")),
        ({"image_url": URL}, ("image", "url", "[0].image_url")),
        ({"type": "text", "text": "a", "image_url": {"url": URL}}, ("image", "url", "[0].image_url.url")),
        ({"type": "image_url", "image_url": {"url": DATA}}, ("image", "data", "[0].image_url.url")),
        ({"type": "image_url", "image_url": {"url": "DATA:,x"}}, ("image", "data", "[0].image_url.url")),
        ({"type": "image_url", "image_url": None, "uuid": "a"}, ("image", "reference", "[0].image_url")),
        ({"type": "image_url", "image_url": {}}, ("image", "reference", "[0].image_url.url")),
        ({"type": "image_url", "image_url": [URL]}, ("image", "broken", "[0].image_url")),
        ({"type": "image_embeds", "image_embeds": "AAAA"}, ("image", "reference", "[0].image_embeds")),
        (
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
            ("audio", "data", "[0].input_audio.data"),
        ),
        ({"type": "input_audio", "input_audio": "AAAA"}, ("audio", "broken", "[0].input_audio")),
        ({"type": "audio_url", "audio_url": {"url": URL}}, ("audio", "url", "[0].audio_url.url")),
        ({"type": "video_url", "video_url": {"url": URL}}, ("video", "url", "[0].video_url.url")),
        ({"type": "file", "file": {"file_data": DATA, "filename": "a"}}, ("file", "data", "[0].file.file_data")),
        ({"type": "file", "file": {"file_id": "f-1"}}, ("file", "reference", "[0].file.file_id")),
        ({"type": "file", "file": DATA}, ("file", "broken", "[0].file")),
        ({"type": "input_image", "image_url": URL}, ("image", "url", "[0].image_url")),
        ({"type": "input_file", "file_url": URL}, ("file", "url", "[0].file_url")),
        ({"type": "input_file", "file_data": "AAAA"}, ("file", "data", "[0].file_data")),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            ("image", "data", "[0].source.data"),
        ),
        ({"type": "image", "source": {"type": "url", "url": URL}}, ("image", "url", "[0].source.url")),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, ("image", "reference", "[0].source.file_id")),
        ({"type": "image", "source": {"type": "new"}}, ("image", "reference", "[0].source")),
        ({"type": "image", "source": URL}, ("image", "broken", "[0].source")),
        ({"type": "document", "source": {"type": "url", "url": URL}}, ("file", "url", "[0].source.url")),
        (
            {
                "type": "document",
                "source": {"type": "content", "content": [{"type": "image", "source": {"type": "x"}}]},
            },
            ("image", "reference", "[0].source.content[0].source"),
        ),
        (
            {"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": URL}}]},
            ("image", "url", "[0].content[0].source.url"),
        ),
        ({"type": "hologram", "text": "a"}, ("unknown", "reference", "[0]")),
    ],
)
def test_each_shape_is_found_where_it_stands(part: dict[str, Any], medium: tuple[str, str, str]) -> None:
    assert found(part) == [medium]


@pytest.mark.parametrize(
    "part",
    [
        "text",
        {"type": "text", "text": URL},
        {"text": "no type"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}},
        {"type": "search_result", "source": URL, "title": "a", "content": [{"type": "text", "text": "b"}]},
        {"type": "tool_use", "name": "a", "input": {"image_url": URL, "content": [{"type": "x"}]}},
        {"type": "web_search_tool_result", "content": []},
        {"type": "thinking", "thinking": "a"},
    ],
)
def test_text_is_no_medium(part: object) -> None:
    assert found(part) == []


def test_items_of_responses_are_walked() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_image", "image_url": URL}]},
        {"type": "function_call_output", "output": [{"type": "input_image", "file_id": "f"}]},
        {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": DATA}},
        {"type": "function_call", "name": "a", "arguments": '{"image_url": "x"}'},
    ]
    assert [(m.form, m.path) for m in media_of({"input": items, "tools": [{"image_url": URL}]})] == [
        ("url", "input[0].content[0].image_url"),
        ("reference", "input[1].output[0].file_id"),
        ("data", "input[2].output.image_url"),
    ]


def test_nesting_without_end_is_told_not_followed() -> None:
    part: dict[str, Any] = {"type": "text", "text": "a"}
    for _ in range(200):
        part = {"type": "tool_result", "content": [part]}
    ((kind, form, _),) = found(part)
    assert (kind, form) == ("unknown", "broken")


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from([URL, DATA]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "content", "output", "source", "file", "input_audio", "image_url", "url", "file_id", "data"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON, JSON)
def test_no_shape_makes_the_walk_fail(messages: object, items: object) -> None:
    request = {"messages": messages, "input": items}
    list(media_of(request))
    without_media(request)


def test_the_flag_log_gets_the_type_the_size_and_the_hash() -> None:
    url = "data:image/png;base64," + "A" * 4000
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "see"}]
    request = {"messages": [{"role": "user", "content": parts}]}
    before = json.dumps(request)
    kept = without_media(request)
    told = kept["messages"][0]["content"][0]["image_url"]["url"]
    assert told.startswith("data:image/png;base64,[4022 characters, sha256 ")
    assert len(told) < 150
    assert kept["messages"][0]["content"][1] == parts[1]
    assert json.dumps(request) == before


def test_a_request_without_large_media_is_kept_as_it_is() -> None:
    request = {"messages": [{"role": "user", "content": [{"image_url": DATA}]}]}
    assert without_media(request) is request
