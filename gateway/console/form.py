"""What a browser's form brings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from fastapi import Request

from gateway.api.asgi import read_body
from gateway.errors import InvalidRequest

LARGEST = 4 << 20
"""Bytes."""
FIELDS = 400
SECONDS = 30.0
"""For the form to arrive."""
WHOLE = re.compile(r"[0-9]{1,18}")
SECONDS_SAID = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Form:
    """The fields as they were typed: hostile, like every text."""

    fields: Mapping[str, Sequence[str]]

    def one(self, name: str, default: str = "") -> str:
        values = self.fields.get(name)
        return values[-1] if values else default

    def all(self, name: str) -> Sequence[str]:
        return self.fields.get(name, ())

    def seconds(self, name: str) -> float:
        """What a script measured; 0 where it is no sound number."""
        text = self.one(name)
        return float(text) if SECONDS_SAID.fullmatch(text) else 0.0

    def whole(self, name: str) -> int:
        """A number that the page gave; 0, which is nobody's token, where somebody wrote something else."""
        text = self.one(name)
        return int(text) if WHOLE.fullmatch(text) else 0

    def under(self, prefix: str) -> dict[str, str]:
        """The fields whose names go on after `prefix`, by the rest of the name. Line ends are those of a text file:
        browsers send CR LF, and an edit that changes nothing else must not change these."""
        found = {n.removeprefix(prefix): v[-1] for n, v in self.fields.items() if n.startswith(prefix)}
        return {name: value.replace("\r\n", "\n") for name, value in found.items()}


async def read(request: Request) -> Form:
    """`application/x-www-form-urlencoded`; BodyTooLarge past `LARGEST`."""
    body = await read_body(request.scope, request.receive, LARGEST, SECONDS)
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError:
        raise InvalidRequest("The form could not be read: reload the page and send it again.") from None
    return Form(fields)
