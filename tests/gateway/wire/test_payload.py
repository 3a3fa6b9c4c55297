"""Base64 media: strict, and of the type that they say."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.payload import CHUNK, BadPayload, check_payload, payload_of, read_data_url, types_of

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 30


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wrong(declared: str, text: str) -> str:
    try:
        check_payload(payload_of(declared, text))
    except BadPayload as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("head", "declared"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\xff\xd8\xff\xe0", "image/jpg"),
        (b"GIF89a", "image/GIF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"ID3\x04", "audio/mp3"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"\xff\xf1\x50", "audio/aac"),
        (b"fLaC", "audio/flac"),
        (b"OggS", "audio/opus"),
        (b"\0\0\0\x18ftypM4A ", "audio/m4a"),
        (b"\0\0\0\x18ftypisom", "video/mp4"),
        (b"\0\0\0\x18ftypisom", "audio/mp4"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
        (b"%PDF-1.7", "application/pdf"),
        ("naïve, 'text'".encode(), "text/plain"),
    ],
)
def test_bytes_of_the_declared_type_pass(head: bytes, declared: str) -> None:
    assert wrong(declared, encoded(head)) == ""


@pytest.mark.parametrize(
    ("data", "declared"),
    [
        (PNG, "image/jpeg"),
        (b"<svg onload=alert(1)>", "image/png"),
        (b"MZ\x90\0", "image/png"),
        (b" " + PNG, "image/png"),
        (b"GIF8", "image/gif"),
        (b"RIFF\0\0\0\0WAVE", "image/webp"),
        (b"ID3", "application/pdf"),
        (b"PK\x03\x04", "application/pdf"),
        (b"\xff\xfe", "text/plain"),
        (b"a\0b", "text/plain"),
        (b"caf\xc3", "text/plain"),
        (b"", "image/png"),
    ],
)
def test_bytes_of_another_type_do_not(data: bytes, declared: str) -> None:
    assert wrong(declared, encoded(data))


@pytest.mark.parametrize("tail", ["=", "\n", " ", "-_", "!", "ä", "A", "====", "=AAA", "AA==AAAA"])
def test_base64_that_decoders_read_differently_is_refused(tail: str) -> None:
    assert wrong("image/png", encoded(PNG[:27]) + tail) == "is not valid base64"


def test_padding_between_two_pieces_is_refused() -> None:
    text = encoded(PNG + b"\0" * CHUNK)
    assert wrong("image/png", text) == ""
    assert wrong("image/png", text[: CHUNK - 2] + "==" + text[CHUNK:]) == "is not valid base64"


def test_a_letter_cut_by_two_pieces_is_read_whole() -> None:
    assert wrong("text/plain", encoded("é".encode() * CHUNK)) == ""


@given(st.binary(min_size=1, max_size=200))
def test_the_size_is_told_without_decoding(data: bytes) -> None:
    assert payload_of("image/png", encoded(data)).size == len(data)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,AAAA",
        "DATA:image/png;BASE64,AAAA",
        "data:image/png;name=a.png;base64,AAAA",
    ],
)
def test_a_data_url_tells_its_type(url: str) -> None:
    assert read_data_url(url) == ("image/png", "AAAA")


@pytest.mark.parametrize(
    "url",
    [
        "data:,AAAA",
        "data:image/png,AAAA",
        "data:;base64,AAAA",
        "data:image/png;base64 ,AAAA",
        "AAAA",
        "data:image;base64,A",
    ],
)
def test_other_data_urls_are_refused(url: str) -> None:
    with pytest.raises(BadPayload):
        read_data_url(url)


@given(st.binary(max_size=80))
def test_any_bytes_have_types_or_none(head: bytes) -> None:
    assert isinstance(types_of(head), tuple)
