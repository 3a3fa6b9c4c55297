"""Flags with sealed texts: what the client asked, and what the model wrote. Who, when and which guard stay legible."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gateway.exchange import FlagPart
from gateway.vault import Destroyed, Vault

SEALED = "sealed"
"""The one key of an object that stands for a sealed one."""
GONE = {"unreadable": "the key of this text was destroyed"}


@dataclass(frozen=True, slots=True)
class Sealing:
    vault: Vault

    async def seal(self, part: FlagPart) -> FlagPart:
        """Before it is kept anywhere."""
        body, head = dict(part.body), part.body.get("head")
        if body.get("answer"):
            body["answer"] = await self._sealed(part.tenant, body["answer"])
        if head is not None and "request" in head:
            body["head"] = {**head, "request": await self._sealed(part.tenant, head["request"])}
        return replace(part, body=body)

    async def open(self, tenant: str, body: dict[str, Any]) -> dict[str, Any]:
        """The body as it was. Where its key is gone the request says so, and there is no answer."""
        found, head = dict(body), body.get("head")
        if SEALED in (body.get("answer") or {}):
            found["answer"] = await self._opened(tenant, body["answer"], {})
        if head is not None and isinstance(head.get("request"), dict) and SEALED in head["request"]:
            found["head"] = {**head, "request": await self._opened(tenant, head["request"], GONE)}
        return found

    async def _sealed(self, tenant: str, value: object) -> object:
        plain = orjson.dumps(value)
        sealed = await self.vault.seal(tenant, plain)
        return value if sealed is plain else {SEALED: base64.b64encode(sealed).decode()}

    async def _opened(self, tenant: str, value: Mapping[str, Any], gone: dict[str, str]) -> Any:
        if not isinstance(value[SEALED], str) or len(value) > 1:
            return value  # a client's own word
        try:
            return orjson.loads(await self.vault.unseal(tenant, base64.b64decode(value[SEALED])))
        except Destroyed:
            return dict(gone)
        except ValueError:
            return value
