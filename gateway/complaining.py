"""What an upstream says in place of an answer."""

from __future__ import annotations

from typing import NoReturn

from gateway.errors import UpstreamBroken, UpstreamRefused
from gateway.plan import Guarded
from gateway.upstream.complaint import complaint
from gateway.upstream.protocol import Answer
from gateway.wire.judge import Judge
from gateway.wire.nested import strings_below

LONGEST = 1 << 20
"""Bytes that are read of it."""


async def complained(answer: Answer, guarded: Guarded) -> NoReturn:
    """The upstream's own status and body; what it says of the prompt is judged like an answer."""
    if answer.status < 400:
        raise UpstreamBroken(f"The upstream answered with status {answer.status} in place of an answer.")
    raw = await answer.read(LONGEST)
    answer.release()
    body = complaint(answer.status, raw)
    lanes = guarded.output
    if not lanes.enforced.idle:
        judge = Judge(lanes.enforced, lanes.monitored, guarded.folder, "output")
        if judge.acts_on("\n".join(strings_below(body))):
            body = complaint(answer.status, b"")
    kept = {k: v for k in ("retry-after",) if (v := answer.headers.get(k))}
    raise UpstreamRefused(answer.status, body, headers=kept)
