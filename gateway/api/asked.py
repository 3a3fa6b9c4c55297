"""What a program asks of `/api`: the query and the body, read by hand so that every mistake is a 400 that says why."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from gateway.api.asgi import parse_object, read_body
from gateway.errors import InvalidRequest

LARGEST = 4 << 20
"""Bytes of a body."""
SECONDS = 30.0
Word = TypeVar("Word", bound=str)


@dataclass(frozen=True, slots=True)
class Asked:
    """Named values, as they came; each getter is InvalidRequest where one is not what it must be."""

    values: dict[str, Any]

    @classmethod
    def query(cls, request: Request, names: Collection[str]) -> Asked:
        """A list is written with commas or by repeating the name."""
        found = {name: request.query_params.getlist(name) for name in request.query_params}
        return cls(known({name: ",".join(values) for name, values in found.items()}, names, "query parameter"))

    @classmethod
    async def body(cls, request: Request, names: Collection[str]) -> Asked:
        """A JSON object, or nothing at all."""
        data = await read_body(request.scope, request.receive, LARGEST, SECONDS)
        return cls(known(parse_object(data) if data.strip() else {}, names, "field"))

    def text(self, name: str, default: str = "") -> str:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise InvalidRequest(f"`{name}` must be a string.", param=name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Of a query a list with commas, of a body an array."""
        value = self.values.get(name) or ()
        items = [item for item in value.split(",") if item] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise InvalidRequest(f"`{name}` must be a list of strings.", param=name)
        return tuple(items)

    def named(self, name: str, words: Collection[Word]) -> Word | None:
        """One of these words; None: it was not given."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        for word in words:
            if word == value:
                return word
        raise InvalidRequest(f"`{name}` must be one of {', '.join(words)}.", param=name)

    def all_named(self, name: str, words: Collection[Word], default: tuple[Word, ...] = ()) -> tuple[Word, ...]:
        return tuple(self._word(name, item, words) for item in self.texts(name)) or default

    def whole(self, name: str, default: int, most: int, least: int = 0) -> int:
        value = self.values.get(name, default)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidRequest(f"`{name}` must be a whole number from {least} to {most}.", param=name)
        return value

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        if value is None or value == "":
            return None
        try:
            found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            found = math.nan
        if not math.isfinite(found):
            raise InvalidRequest(f"`{name}` must be a number.", param=name)
        return found

    def mapping(self, name: str) -> dict[str, str]:
        """Text by text."""
        value = self.values.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise InvalidRequest(f"`{name}` must be an object of strings.", param=name)
        return value

    def _word(self, name: str, item: str, words: Collection[Word]) -> Word:
        found = Asked({name: item}).named(name, words)
        if found is None:
            raise InvalidRequest(f"`{name}` must be a list of {', '.join(words)}.", param=name)
        return found


def known(values: dict[str, Any], names: Collection[str], what: str) -> dict[str, Any]:
    """A slip in a name would ask for something else than was meant."""
    if not values.keys() <= set(names):
        listed = f"It takes: {', '.join(names)}." if names else "It takes none."
        raise InvalidRequest(f"There is a {what} that this route does not know. {listed}")
    return values
