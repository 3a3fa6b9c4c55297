"""What a policy says of the people who look at what guards are unsure of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from guards.fields import BaseUrl, Count, Duration, Ratio, Text
from guards.section import Section

NOTICE = "Your request is waiting for a person to look at it. Please come back for the answer later."


class Escalation(Section):
    """What becomes of an answer that a guard escalates."""

    deliver: Literal["withhold", "wait", "release"] = Field(default="withhold", examples=["withhold"])
    wait: Duration = Field(default=20.0, examples=["20s"])
    """How long a request waits for the decision, under `deliver: wait`."""
    deadline: Duration = Field(default=1800.0, examples=["30m"])
    on_deadline: Literal["block", "allow"] = Field(default="block", examples=["block"])
    notice: Text = Field(default=NOTICE, examples=[f'"{NOTICE}"'])
    """What the client gets in place of an answer that is held."""


class Review(Section):
    """Who must look, at how much, and for how long it is kept."""

    reviews: Count = Field(default=1, examples=["2"])
    """People who must agree on a case."""
    second_share: Ratio = Field(default=0.1, examples=["0.1"])
    """Of decided cases, chosen by lot, that somebody else decides again without knowing of it."""
    audit_share: Ratio = Field(default=0.0, examples=["0.01"])
    """Of the exchanges in which no guard finds anything, chosen by lot before any guard has looked."""
    undo: Duration = Field(default=30.0, examples=["30s"])
    """Between a decision and its effect."""
    retention: Duration = Field(default=90 * 86400.0, examples=["90d"])
    """For which flags and decided cases are kept."""


class Webhook(Section):
    """Where decisions are sent to, signed."""

    url: BaseUrl = Field(examples=["https://app.example.org/reviews"])
    secret: SecretStr = Field(examples=["${WEBHOOK_SECRET}"])
    """HMAC-SHA256 over timestamp and body."""
    tenants: tuple[str, ...] = Field(default=(), examples=["[acme]"])
    """None: those of every tenant."""
