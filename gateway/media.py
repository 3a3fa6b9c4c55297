"""The media of a request against the policy: what may be sent at all, and what of it no guard can look into."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.errors import MediaRefused
from gateway.wire.media import Medium
from gateway.wire.payload import BadPayload, Payload, check_payload, payload_of, read_data_url
from guards.hosts import HostList
from guards.media import Kind, Media
from guards.verdict import Action, Verdict

GUARD = "media"
"""Stands in findings for the guard's name."""
CATEGORY = "format"
UNJUDGED = "unjudged"
REFUSED = "media_refused"
LARGE = 1 << 20
"""Characters from which on media are decoded in a thread, so that other exchanges go on."""


async def judge_media(media: Sequence[Medium], rules: Media) -> MediaJudge:
    """What the policy says of all media of a request."""
    judge = MediaJudge(rules)
    if sum(len(m.value) for m in media) > LARGE:
        await asyncio.to_thread(judge.judge, media)
    else:
        judge.judge(media)
    return judge


@dataclass(slots=True)
class MediaJudge:
    """Of one request."""

    rules: Media
    verdicts: list[Verdict] = field(default_factory=list)
    refusal: MediaRefused | None = None
    """The first thing that is wrong."""
    hosts: HostList | None = None

    def judge(self, media: Sequence[Medium]) -> None:
        counts: Counter[str] = Counter()
        for medium in media:
            counts[medium.kind] += 1
            if (wrong := self._wrong(medium, counts[medium.kind])) is not None:
                self.refusal = MediaRefused(f"`{medium.path}` {wrong}.", param=medium.path)
                self.verdicts = [_verdict(medium, Action.BLOCK, REFUSED)]
                return
        self.verdicts = [_verdict(m, Action(self.rules.unjudged), UNJUDGED) for m in media]

    def _wrong(self, medium: Medium, count: int) -> str | None:
        """What is wrong with it, in words for the client that quote nothing of it."""
        if medium.form == "broken":
            return medium.value
        rule = self._rule(medium)
        if rule is not None and count > rule.max_count:
            return f"is one {medium.kind} too many: {rule.max_count} are allowed in a request"
        if medium.form == "url":
            return self._wrong_url(medium)
        if medium.form == "data":
            return _wrong_data(medium, rule)
        return None

    def _rule(self, medium: Medium) -> Kind | None:
        known: dict[str, Kind] = {
            "image": self.rules.image,
            "audio": self.rules.audio,
            "video": self.rules.video,
            "file": self.rules.file,
        }
        return known.get(medium.kind)

    def _wrong_url(self, medium: Medium) -> str | None:
        if self.hosts is None:
            self.hosts = HostList.of(self.rules.hosts)
        if self.hosts.allows(medium.value):
            return None
        return "is not an http or https URL of a host that this gateway allows; send the data itself as a data URL"


def _wrong_data(medium: Medium, rule: Kind | None) -> str | None:
    if rule is None:
        return "is data of a kind that this gateway does not know"
    try:
        payload = payload_of(medium.declared, medium.value) if medium.declared else read_data_url(medium.value)
        _check(payload, rule)
    except BadPayload as error:
        return str(error)
    return None


def _check(payload: Payload, rule: Kind) -> None:
    if payload.declared not in rule.types:
        raise BadPayload(f"is of a type that is not allowed; send one of {', '.join(rule.types)}")
    if payload.size > rule.max_bytes:
        raise BadPayload(f"is too large: {rule.max_bytes} bytes are allowed")
    check_payload(payload)


def _verdict(medium: Medium, action: Action, entity: str) -> Verdict:
    return Verdict(GUARD, "input", medium.path, CATEGORY, action, entity=entity, would=action)
