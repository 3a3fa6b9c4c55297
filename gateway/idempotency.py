"""`Idempotency-Key`: a request that is sent again gets the answer of the first time, as at Stripe.

Another request under the same key is a conflict, and so is one that comes while the first is being answered: both are
409, the second with a `retry-after`, upon which SDKs ask again. Answers of 5xx, of limits and of keys are not kept, nor
such as broke off or are too large: then the request is served anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.exceptions import RedisError

from gateway.api.asgi import Headers, Message, Send, encode_headers, send_bytes
from gateway.errors import IdempotencyInProgress, IdempotencyMismatch, InvalidRequest
from gateway.live.answers import Answers, Kept
from gateway.live.batch import Away
from gateway.metrics import Metrics
from gateway.privacy import user_digest
from gateway.vault import Destroyed
from guards.policy import Server

SANE_KEY = re.compile(r"[!-~]{1,255}")
PASSING = frozenset({401, 403, 408, 409, 429})
"""Statuses that another try may turn into something else."""
ANEW = frozenset({b"content-length", b"connection"})
"""Headers that are said anew; those of the limits are not seen here."""
IDS = frozenset({"x-request-id", "request-id"})
"""Headers that name the request which is answered."""


@dataclass(slots=True)
class Once:
    """One request that bears a key: looked up before it is served, listened to while it is answered."""

    answers: Answers
    metrics: Metrics
    server: Server
    name: str
    """Of tenant and key, in Redis."""
    tenant: str = ""
    digest: str = ""
    """Of the request."""
    user: str = ""
    """Digest of the end user."""
    owner: str = field(default_factory=lambda: secrets.token_hex(8))
    sound: Callable[[], bool] = lambda: True
    owned: bool = False
    """The answer is for this request to give."""
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    renewing: asyncio.TimerHandle | None = None

    def read(self, route: str, request: Mapping[str, Any], sound: Callable[[], bool]) -> None:
        """The request is here. `sound`: whether an answer of 200 came to its own end."""
        self.user = user_digest(self.tenant, dict(request))
        self.digest = hashlib.sha256(route.encode() + b"\0" + canonical(request)).hexdigest()
        self.sound = sound

    async def replay(self, id: str, send: Send) -> int | None:
        """Send the answer that is known: its status. None: the request is to be served."""
        try:
            state, answer = await self.answers.begin(self.name, self.digest, self.owner, self.tenant)
        except Away:
            self.metrics.idempotent.labels("unavailable").inc()
            self.owned = True  # Redis may think so: then the answer is kept, or the key is free again in the end
            return None  # two answers are better than none
        self.metrics.idempotent.labels(state).inc()
        if state == "mismatch":
            raise IdempotencyMismatch("This `Idempotency-Key` belongs to another request. Send a key of its own.")
        if state == "in_progress":
            raise IdempotencyInProgress(
                "The first request with this `Idempotency-Key` is still being answered; ask again.",
                headers={"retry-after": "1"},
            )
        if answer is None:
            self.owned = True
            self._renew_later()
            return None
        await send_bytes(send, answer.status, repeated(answer, id), answer.body)
        return answer.status

    def over(self, send: Send) -> Send:
        """Keeps what it sends, before the end of it leaves."""

        async def listening(message: Message) -> None:
            if self.owned:
                self._listen(message)
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    await self._keep()
            await send(message)

        return listening

    def leave(self) -> None:
        """The request has ended. Without an answer that is kept, the key is free."""
        self._stop_renewing()
        if self.owned:
            self.owned = False
            self.answers.drop(self.name, self.owner)

    def _listen(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in message["headers"] if k not in ANEW]
            return
        self.size += len(message.get("body", b""))
        if self.size <= self.server.idempotency_max_answer:
            self.pieces.append(message.get("body", b""))
        else:
            self.pieces.clear()

    async def _keep(self) -> None:
        if not self._worth_keeping():
            return
        try:
            answer = Kept(self.status, self.headers, b"".join(self.pieces))
            terms = {"tenant": self.tenant, "user": self.user}
            await self.answers.keep(self.name, self.owner, answer, self.server.idempotency_ttl, **terms)
        except (Away, RedisError, OSError, Destroyed):
            return
        self.owned = False

    def _worth_keeping(self) -> bool:
        if self.size > self.server.idempotency_max_answer or self.status >= 500 or self.status in PASSING:
            return False
        return self.status != 200 or self.sound()

    def _renew_later(self) -> None:
        self.renewing = asyncio.get_running_loop().call_later(self.answers.lease / 3, self._renew)

    def _renew(self) -> None:
        self.answers.renew(self.name, self.owner)
        self._renew_later()

    def _stop_renewing(self) -> None:
        if self.renewing is not None:
            self.renewing.cancel()
            self.renewing = None


def canonical(request: Mapping[str, Any]) -> bytes:
    """The same for requests that say the same: clients that build one anew may write its keys in another order."""
    try:
        return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The request is nested too deeply; 250 levels are the most.") from None


def sane(key: str) -> str:
    """The key as the client sent it; InvalidRequest where it is none."""
    if not SANE_KEY.fullmatch(key):
        raise InvalidRequest("`Idempotency-Key` must be 1 to 255 printable ASCII characters without blanks.")
    return key


def repeated(answer: Kept, id: str) -> Headers:
    """The headers of an answer that is given again: its first id goes with it, since flags are found by that."""
    first = next((value for name, value in answer.headers if name == "x-request-id"), "")
    own = [(name, id if name in IDS else value) for name, value in answer.headers]
    return encode_headers([*own, ("idempotent-replayed", "true"), ("original-request", first)])
