"""Cases and flags for the console's tests."""

from __future__ import annotations

import time
from typing import Any

from gateway.exchange import FlagPart
from gateway.review.case import Case, Matter, new_id
from tests.gateway.console.conftest import Console

FIELD = "choices[0].message.content"
ANSWER = "You can reach Jonas Weber at jonas.weber@example.com until 6 pm."
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    '<svg onload=alert(1)> </textarea></span>" onmouseover=alert(1) x=" {{ 7*7 }} {% raw %} '
    "[click](javascript:alert(1)) ![x](https://evil.example/x.png) &lt;b&gt; "
    "\u202eevil\u202c \u200b\u2066x\u2069 \x1b[31mred\x00 "
    "".join(("", "\U000e0069\U000e0067\U000e006e"))
    + " </style><style>*{display:none}</style>"
)
"""Whatever a page might run, fetch, render or be turned around by."""


def verdict(**fields: Any) -> dict[str, Any]:
    sound = {"guard": "harm", "category": "privacy", "stage": "output", "action": "escalate", "would": "escalate"}
    rest = {"score": 0.78, "threshold": 0.7, "field": FIELD, "version": "v1", "spans": []}
    return {**sound, **rest, **fields}


def case(**fields: Any) -> Case:
    now = time.time()
    sound: dict[str, Any] = {
        "id": new_id(),
        "exchange": "req-1",
        "at": now - 300,
        "opened": now - 280,
        "tenant": "acme",
        "model": "assistant",
        "policy": "support@1a2b3c4d5e6f",
        "route": "/v1/chat/completions",
        "stage": "output",
        "source": "guard",
        "deliver": "withhold",
        "severity": 2,
        "categories": ("privacy",),
        "deadline": now + 1500,
        "on_deadline": "block",
        "user": "9f86d081884c",
    }
    return Case(**{**sound, **fields})


def matter(answer: str = ANSWER, *, question: str = "Who brings it?", **fields: Any) -> Matter:
    start = answer.find("jonas")
    found = [verdict(), verdict(guard="pii", category="pii", entity="email", spans=[[start, start + 23]])]
    sound: dict[str, Any] = {
        "request": {"model": "assistant", "messages": [{"role": "user", "content": question}]},
        "texts": {FIELD: answer},
        "verdicts": found if start >= 0 else found[:1],
        "system_prompt": "You are ACME's assistant.",
        "refusal": "I'm sorry, but I cannot assist with that request.",
    }
    return Matter(**{**sound, **fields})


async def opened(console: Console, text: Matter | None = None, **fields: Any) -> Case:
    """A case that waits."""
    new = case(**fields)
    assert await console.queue.open(new, (text or matter()).dump())
    return new


async def flagged(console: Console, id: str, *, answer: str = ANSWER, tenant: str = "acme", **fields: Any) -> None:
    head = {"tenant": tenant, "model": "assistant", "policy": "support@1a2b", "route": "/v1/chat/completions"}
    body = {
        "head": {**head, "request": matter().request},
        "verdicts": [verdict(**fields)],
        "answer": {FIELD: answer},
        "end": {"action": "escalate", "outcome": "complete"},
    }
    await console.flags.append(FlagPart(id, 0, time.time(), body))
