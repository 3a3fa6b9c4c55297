"""LiteLLM's generic guardrail API, so that Wardgate guards what goes through a LiteLLM proxy.

The shapes are those of LiteLLM 1.108 (`litellm/proxy/guardrails/guardrail_hooks/generic_guardrail_api`), documented at
https://docs.litellm.ai/docs/adding_provider/generic_guardrail_api. Of an answer LiteLLM takes `texts`, as many as it
sent and in their order, `tools`, `structured_messages` and `stream_holdback_chars`; tool calls it does not take back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.api.door import SANE_ID
from gateway.checking import Asked, Check, calls_of
from gateway.errors import InvalidRequest
from gateway.wire import prompt as prompts
from gateway.wire.media import Medium, media_of, without_media
from gateway.wire.prompt import TextSlot
from guards.stream import TextFilter
from guards.verdict import Stage

STAGE_OF: Mapping[str, Stage] = {"request": "input", "response": "output"}
ROLE_OF = {"input": "user", "output": "assistant"}
LISTS = {"texts": str, "images": str, "structured_messages": dict, "tools": dict, "tool_calls": dict}
UNREDACTED = "A tool call holds text that must be redacted, and LiteLLM does not take rewritten tool calls."


class LiteLLMForm:
    """Implements `Form`. LiteLLM sends a guardrail's `api_key` as `x-api-key`."""

    route = "/beta/litellm_basic_guardrail_api"

    def read(self, request: dict[str, Any]) -> Asked:
        check_shape(request)
        stage = STAGE_OF[request["input_type"]]
        slots = first_of_each(carried(request, stage))
        params, id = request.get("additional_provider_specific_params") or {}, request.get("litellm_call_id")
        return Asked(
            stage,
            slots,
            params.get("policy"),
            request.get("model"),
            question=prompts.last_user_text(request.get("structured_messages") or []),
            media=media(request) if stage == "input" else (),
            calls=list(calls_of(request.get("tool_calls"), "tool_calls")) if stage == "output" else (),
            kept=kept,
            id=id if isinstance(id, str) and SANE_ID.fullmatch(id) else None,
        )

    def answer(self, check: Check) -> dict[str, Any]:
        told = {"wardgate": check.judging.findings()}
        if check.judging.withheld:
            return {"action": "BLOCKED", "blocked_reason": reason(check), **told}
        given = check.given
        request = check.exchange.request
        put_everywhere(check, request)
        if uncarried(check):
            return {"action": "BLOCKED", "blocked_reason": UNREDACTED, **told}
        held = {"stream_holdback_chars": holdback(check, given)} if check.asked.stage == "output" else {}
        if not check.edits:
            return {"action": "NONE", **held, **told}
        # Rows that LiteLLM takes back replace its messages whole: only where texts cannot carry what changed in them.
        rows = "structured_messages" if unsaid(check, given) else ""
        out = {name: request[name] for name in ("texts", "tools", rows) if request.get(name)}
        return {"action": "GUARDRAIL_INTERVENED", **out, **held, **told}


def check_shape(request: Mapping[str, Any]) -> None:
    if request.get("input_type") not in tuple(STAGE_OF):
        raise InvalidRequest("`input_type` must be `request` or `response`.", param="input_type")
    for name, kind in LISTS.items():
        given = request.get(name)
        if given is not None and not (isinstance(given, list) and all(isinstance(each, kind) for each in given)):
            what = "strings" if kind is str else "objects"
            raise InvalidRequest(f"`{name}` must be an array of {what}, or null.", param=name)
    for i, row in enumerate(request.get("structured_messages") or ()):
        if not isinstance(row.get("content"), str | list | None):
            raise InvalidRequest("`content` must be a string, an array or null.", param=f"structured_messages[{i}]")
    params = request.get("additional_provider_specific_params")
    if not isinstance(params, dict | None):
        raise InvalidRequest(
            "`additional_provider_specific_params` must be an object.", param="additional_provider_specific_params"
        )


def carried(request: dict[str, Any], stage: Stage) -> Iterator[TextSlot]:
    """Every text that is judged; what the messages and the lists have in common comes of both.

    Beside an answer the messages are what it answers, and were judged in their time.
    """
    rows, tools = request.get("structured_messages") or [], request.get("tools") or []
    for slot in prompts.texts({"messages": rows, "tools": tools}) if stage == "input" else ():
        yield replace(slot, path=f"structured_{slot.path}" if slot.path.startswith("messages") else slot.path)
    yield from prompts.walk(request.get("tool_calls") or [], "tool_calls", "assistant")
    for i, text in enumerate(texts := request.get("texts") or []):
        if text:
            yield TextSlot(texts, i, f"texts[{i}]", text, ROLE_OF[stage])


def first_of_each(slots: Iterator[TextSlot]) -> list[TextSlot]:
    """One slot of those with the same text: the messages come first, which say whose it is."""
    found: dict[tuple[str, bool, str], TextSlot] = {}
    known: set[tuple[str, bool]] = set()
    for slot in slots:
        same = (slot.text, slot.json)
        listed = slot.path.startswith(("texts", "tool_calls"))
        if not (listed and same in known):
            found.setdefault((*same, slot.role), slot)
            known.add(same)
    return list(found.values())


def put_everywhere(check: Check, request: dict[str, Any]) -> None:
    """What a guard rewrote in one place is rewritten wherever the same text stands."""
    rewritten = {(slot.text, slot.json): text for slot, text in check.edits}
    if rewritten:
        for slot in carried(request, check.asked.stage):
            if (new := rewritten.get((slot.text, slot.json))) is not None:
                slot.put(new)


def media(request: Mapping[str, Any]) -> list[Medium]:
    """The images, and what else the messages hold."""
    rows = [replace(m, path=f"structured_{m.path}") for m in media_of({"messages": request.get("structured_messages")})]
    known = {m.value for m in rows}
    shown = media_of(pictures(request.get("images") or []))
    return rows + [replace(m, path=f"images[{i}]") for i, m in enumerate(shown) if m.value not in known]


def pictures(images: Sequence[str]) -> dict[str, Any]:
    """The images as a chat has them."""
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url} for url in images]}]}


def kept(request: dict[str, Any]) -> dict[str, Any]:
    """For the flag log: of large media their type, size and hash."""
    rows = without_media({"messages": request.get("structured_messages")})["messages"]
    (shown,) = without_media(pictures(request.get("images") or []))["messages"]
    images = [part["image_url"] for part in shown["content"]]
    return {**request, "structured_messages": rows, "images": images if request.get("images") else None}


def uncarried(check: Check) -> bool:
    """Whether a tool call was rewritten that stands in no row."""
    return any(slot.path.startswith("tool_calls") for slot, _ in check.edits)


def unsaid(check: Check, given: Mapping[str, Any]) -> bool:
    """Whether a row was rewritten in a place that `texts` does not carry."""
    texts = set(given.get("texts") or ())
    return any(s.path.startswith("structured_messages") and (s.json or s.text not in texts) for s, _ in check.edits)


def holdback(check: Check, given: Mapping[str, Any]) -> list[int]:
    """Of each text, the characters at its end that more text could still change: LiteLLM keeps them for the next round.

    A stream's filter lets go what is safe; what it would only let go at the end is what must wait.
    """
    if check.lanes.enforced.idle:
        return [0] * len(given.get("texts") or ())
    pairs = zip(given.get("texts") or (), check.exchange.request.get("texts") or (), strict=True)
    return [held(check, raw, now) for raw, now in pairs]


def held(check: Check, raw: str, now: str) -> int:
    safe = TextFilter.new(check.lanes.enforced, check.judging.guarded.folder).feed(raw).text
    return len(now) - len(safe) if now.startswith(safe) else len(now)


def reason(check: Check) -> str:
    """What LiteLLM tells its client, as the policy's `on_block` has it."""
    if check.judging.guarded.policy.on_block == "refuse":
        return check.judging.guarded.policy.refusal
    what = "prompt" if check.asked.stage == "input" else "answer"
    return f"The {what} was blocked by the content policy: {', '.join(check.judging.categories())}."
