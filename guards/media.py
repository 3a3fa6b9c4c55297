"""What a policy says of images, audio, video and files in requests."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from guards.fields import Count, Size, wrong
from guards.hosts import HostError, entry_of
from guards.section import Section

MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]*")
KNOWN_TYPES = frozenset(
    {
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/tiff", "image/avif", "image/heic"),
        *("audio/wav", "audio/mpeg", "audio/flac", "audio/ogg", "audio/mp4", "audio/aac", "audio/webm"),
        *("video/mp4", "video/webm", "video/quicktime", "video/mpeg", "video/x-msvideo"),
        *("application/pdf", "text/plain", "text/markdown", "text/csv", "application/json"),
    }
)
"""Those whose first bytes, or whose text, the gateway can check."""


class Kind(Section):
    """Limits of one kind of media."""

    max_count: Count
    """In one request."""
    max_bytes: Size
    """Of each, decoded."""
    types: tuple[str, ...]

    @field_validator("types")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if each not in KNOWN_TYPES:
                known = ", ".join(sorted(KNOWN_TYPES))
                raise wrong("names a type that the gateway cannot check", f"use some of {known}")
        return value


class Images(Kind):
    max_count: Count = Field(default=20, examples=["20"])
    max_bytes: Size = Field(default=20 << 20, examples=["20MB"])
    types: tuple[str, ...] = Field(
        default=("image/png", "image/jpeg", "image/gif", "image/webp"), examples=["[image/png, image/jpeg]"]
    )


class Audio(Kind):
    max_count: Count = Field(default=10, examples=["10"])
    max_bytes: Size = Field(default=25 << 20, examples=["25MB"])
    types: tuple[str, ...] = Field(
        default=("audio/wav", "audio/mpeg", "audio/flac", "audio/ogg", "audio/mp4", "audio/webm"),
        examples=["[audio/wav, audio/mpeg]"],
    )


class Video(Kind):
    max_count: Count = Field(default=4, examples=["4"])
    max_bytes: Size = Field(default=32 << 20, examples=["32MB"])
    types: tuple[str, ...] = Field(default=("video/mp4", "video/webm"), examples=["[video/mp4]"])


class Files(Kind):
    max_count: Count = Field(default=10, examples=["10"])
    max_bytes: Size = Field(default=32 << 20, examples=["32MB"])
    types: tuple[str, ...] = Field(default=("application/pdf",), examples=["[application/pdf]"])


class Media(Section):
    image: Images = Field(default=Images(), examples=["{max_count: 20, max_bytes: 20MB}"])
    audio: Audio = Field(default=Audio(), examples=["{max_count: 10}"])
    video: Video = Field(default=Video(), examples=["{max_count: 4}"])
    file: Files = Field(default=Files(), examples=["{types: [application/pdf]}"])
    hosts: tuple[str, ...] = Field(default=(), examples=['["images.example.org", "*.example.com"]'])
    """Where URLs may lead, which the gateway itself never asks; `*`: anywhere on the open internet. None: no URLs."""
    unjudged: Literal["allow", "flag", "block"] = Field(default="flag", examples=["flag"])
    """What it means that no guard can look into a medium."""

    @field_validator("hosts")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            try:
                entry_of(each)
            except HostError as error:
                raise wrong(f"has an entry that {error}", "write hosts alone, without https:// and path") from None
        return value
