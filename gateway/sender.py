"""The bytes of one answer on their way to the client, whole or as a stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.api.asgi import JSON_HEADER, STREAM_HEADERS, Headers, Send, send_bytes
from gateway.judging import Judging


@dataclass(slots=True)
class Sender:
    """Sends the status with the first bytes, and what the guards have found so far with it."""

    send: Send
    judging: Judging
    began: float
    """By the exchange's clock."""
    listen: Callable[[bytes], None] | None = None
    """Hears what leaves of a stream."""
    started: bool = False
    """The status and headers have left."""

    async def whole(self, body: bytes, headers: Headers | None = None) -> None:
        self.started = True
        await send_bytes(self.send, 200, [*(headers or [JSON_HEADER]), *self.judging.headers()], body)

    async def answer(self, body: dict[str, Any]) -> None:
        """A whole answer, with its `wardgate` object."""
        await self.whole(orjson.dumps({**body, "wardgate": self.judging.findings()}))

    async def more(self, data: bytes) -> None:
        """A piece of a stream."""
        if not self.started:
            await self._start()
        if self.listen is not None:
            self.listen(data)
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def last(self, data: bytes) -> None:
        """The end of a stream."""
        if not self.started:
            await self._start()
        await self.send({"type": "http.response.body", "body": data})

    async def _start(self) -> None:
        self.started = True
        self.judging.metrics.first_byte(self.judging.exchange.model, self.judging.clock() - self.began)
        headers = [*STREAM_HEADERS, *self.judging.headers()]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})


def render(chunk: dict[str, Any], raw: bytes, wardgate: dict[str, Any], *, changed: bool) -> bytes:
    """The body with its `wardgate` object; an unchanged body keeps the upstream's bytes."""
    if changed or not chunk or "wardgate" in chunk:
        return orjson.dumps({**chunk, "wardgate": wardgate})
    return raw.rstrip()[:-1] + b',"wardgate":' + orjson.dumps(wardgate) + b"}"
