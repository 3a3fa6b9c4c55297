"""The kinds of value a config document holds: names, durations, sizes, counts, key hashes, URLs.

Messages never repeat the value: it may have come from the environment and be a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE = re.compile(r"(\d+)\s*([kmg]?)i?b?", re.IGNORECASE)
BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
NAME = re.compile(r"[!-~]+(?: [!-~]+)*")
KEY_HASH = re.compile(r"sha256:[0-9a-fA-F]{64}")
ROUTE = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
MAX_NAME = 128


@dataclass(frozen=True, slots=True)
class Reading:
    """Validation context of a document that a person wrote: bare numbers need units there, and files have been read."""

    terms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """`terms_file` as written -> its terms."""


def wrong(message: str, remedy: str = "") -> PydanticCustomError:
    """A fault told in plain words; without a remedy the field's example is offered."""
    return PydanticCustomError("document", "{message}", {"message": message, "remedy": remedy})


def duration(value: object, info: ValidationInfo) -> float:
    """`500ms`, `20s`, `30m`, `1h` -> seconds. In code a number is seconds; in a document it would be a guess."""
    seconds = math.nan
    if isinstance(value, str) and (match := DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * SECONDS[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(info.context, Reading):
            raise wrong("is a duration without a unit", "add the unit: ms, s, m, h or d, such as 500ms or 20s")
        seconds = float(value)
    if math.isnan(seconds) or math.isinf(seconds):
        raise wrong("is not a duration")
    if seconds <= 0:
        raise wrong("must be longer than nothing")
    return seconds


def size(value: object) -> int:
    """`200`, `64kB`, `32MB` -> bytes; the units are powers of 1024, with or without the `i`."""
    match = SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    number = int(match[1]) * BYTES[match[2].lower()] if match else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise wrong("is not a size")
    if number <= 0:
        raise wrong("must be larger than nothing")
    return number


def count(value: object) -> int:
    """A whole number above 0; text counts too, because the environment holds nothing else."""
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value.strip()) else value
    if not isinstance(number, int) or isinstance(number, bool) or number <= 0:
        raise wrong("must be a whole number above 0")
    return number


def flag(value: object) -> bool:
    """`true` or `false`, from the environment too."""
    known = {"true": True, "false": False}
    truth = known.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(truth, bool):
        raise wrong("must be true or false", "write true or false")
    return truth


def off(value: object) -> object:
    """YAML reads a bare `off` as false."""
    return "off" if value is False else value


def ratio(value: object) -> float:
    """A number from 0 to 1."""
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float | str) else float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise wrong("must be a number from 0 to 1", "write a probability, such as 0.7")
    return number


def name(value: str) -> str:
    """Names travel in headers, metrics and logs."""
    if len(value) > MAX_NAME or not NAME.fullmatch(value):
        raise wrong(
            "is not a usable name",
            f"use up to {MAX_NAME} ASCII letters, digits and signs, without blanks at either end",
        )
    return value


def key_hash(value: str) -> str:
    if not KEY_HASH.fullmatch(value):
        raise wrong(
            "is not the hash of a key", "write sha256:<64 hex digits>, the hash that `wardgate keys new` prints"
        )
    return value.lower()


def base_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if good and parts.username is not None:
        raise wrong("carries a name or a password, which are not sent", "remove them; a key goes into `api_key`")
    if not good or parts.query or parts.fragment or re.search(r"\s", value):
        raise wrong("is not an http or https URL", "write it as http://host:port/v1")
    return value.rstrip("/")


def route(value: str) -> str:
    """Matched as it stands, so only what has a single spelling."""
    if not ROUTE.fullmatch(value):
        raise wrong("is not a plain path", "write it as /tokenize or /v1/score: no query, no `..`, no slash at the end")
    return value


def filled(value: str) -> str:
    if not value.strip():
        raise wrong("is blank")
    return value


Duration = Annotated[float, BeforeValidator(duration)]
Size = Annotated[int, BeforeValidator(size)]
Count = Annotated[int, BeforeValidator(count)]
Flag = Annotated[bool, BeforeValidator(flag)]
Off = BeforeValidator(off)
"""Before a Literal that has the word `off`."""
Ratio = Annotated[float, BeforeValidator(ratio)]
Name = Annotated[str, AfterValidator(name)]
KeyHash = Annotated[str, AfterValidator(key_hash)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
Route = Annotated[str, AfterValidator(route)]
Text = Annotated[str, Field(min_length=1), AfterValidator(filled)]
