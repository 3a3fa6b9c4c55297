"""Media that stand in a request as base64: decoded strictly, known by their first bytes, never unpacked."""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9][a-z0-9.+-]*)((?:;[a-z0-9-]+=[^;,\s]*)*);base64,", re.IGNORECASE)
CHUNK = 1 << 18
"""Characters that are decoded at a time: other threads run in between."""
HEAD = 64
"""Bytes that tell a type."""
ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/heif": "image/heic",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-flac": "audio/flac",
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
    "audio/opus": "audio/ogg",
    "application/ogg": "audio/ogg",
    "audio/x-aac": "audio/aac",
    "video/avi": "video/x-msvideo",
}
STARTS: tuple[tuple[bytes, tuple[str, ...]], ...] = (
    (b"\x89PNG\r\n\x1a\n", ("image/png",)),
    (b"\xff\xd8\xff", ("image/jpeg",)),
    (b"GIF87a", ("image/gif",)),
    (b"GIF89a", ("image/gif",)),
    (b"BM", ("image/bmp",)),
    (b"II*\0", ("image/tiff",)),
    (b"MM\0*", ("image/tiff",)),
    (b"fLaC", ("audio/flac",)),
    (b"OggS", ("audio/ogg",)),
    (b"ID3", ("audio/mpeg",)),
    (b"\x1a\x45\xdf\xa3", ("video/webm", "audio/webm")),
    (b"\0\0\1\xba", ("video/mpeg",)),
    (b"\0\0\1\xb3", ("video/mpeg",)),
    (b"%PDF-", ("application/pdf",)),
)
RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), ("image/avif",)),
    **dict.fromkeys((b"heic", b"heix", b"mif1", b"msf1"), ("image/heic",)),
    **dict.fromkeys((b"M4A ", b"M4B "), ("audio/mp4",)),
    b"qt  ": ("video/quicktime",),
}
TEXTS = frozenset({"text/plain", "text/markdown", "text/csv", "application/json"})


class Payload(NamedTuple):
    declared: str
    """Media type, one name for each."""
    encoded: str
    """Base64."""

    @property
    def size(self) -> int:
        """Bytes, once decoded."""
        return len(self.encoded) // 4 * 3 - self.encoded[-2:].count("=")


class BadPayload(ValueError):
    """Not what it says it is. The message is for the client, and quotes nothing."""


def payload_of(declared: str, encoded: str) -> Payload:
    name = declared.lower()
    return Payload(ALIASES.get(name, name), encoded)


def read_data_url(url: str) -> Payload:
    match = DATA_URL.match(url)
    if match is None:
        raise BadPayload("is no data URL of the form data:<type>;base64,<data>")
    return payload_of(match[1], url[match.end() :])


def check_payload(payload: Payload) -> None:
    """BadPayload where the base64 is not strict, or the bytes are not of the declared type."""
    head, text = b"", codecs.getincrementaldecoder("utf-8")() if payload.declared in TEXTS else None
    try:
        for piece in _decoded(payload.encoded):
            head = head or piece[:HEAD]
            if text is not None and "\0" in text.decode(piece):
                raise BadPayload("is not the text that it is declared to be")
        if text is not None:
            text.decode(b"", final=True)
    except UnicodeDecodeError:
        raise BadPayload("is not the text that it is declared to be, in UTF-8") from None
    except (binascii.Error, UnicodeEncodeError):
        raise BadPayload("is not valid base64") from None
    if not head:
        raise BadPayload("is empty")
    if text is None and payload.declared not in types_of(head):
        raise BadPayload("is not of the type that it is declared to be")


def _decoded(encoded: str) -> Iterator[bytes]:
    raw = encoded.encode("ascii")
    if len(raw) % 4 or raw.find(b"=", 0, len(raw) - 2) >= 0:  # the decoder itself takes superfluous padding
        raise binascii.Error("padding that is wrong")
    for at in range(0, len(raw), CHUNK):
        yield binascii.a2b_base64(raw[at : at + CHUNK], strict_mode=True)


def types_of(head: bytes) -> tuple[str, ...]:
    """The media types that begin like this."""
    for start, types in STARTS:
        if head.startswith(start):
            return types
    if head.startswith(b"RIFF") and head[8:12] in RIFF:
        return (RIFF[head[8:12]],)
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], ("video/mp4", "audio/mp4"))
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # frames of MPEG audio; layer 0 is AAC
        return ("audio/mpeg",) if head[1] & 0x06 else ("audio/aac",)
    return ()
