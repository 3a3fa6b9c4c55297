"""The policy document, validated: what may be asked for, what judges it, and who may ask. Immutable, with a hash.

Each field's first example is what `wardgate check` offers for a value that it cannot read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from guards.fields import BaseUrl, Count, Duration, Flag, KeyHash, Name, Off, Ratio, Reading, Route, Size, Text, wrong
from guards.media import Media
from guards.problem import Complaint
from guards.review import Escalation, Review, Webhook
from guards.section import Section
from guards.tools import ArgumentRule
from guards.verdict import Mode, Stage

Spotlight = Literal["off", "delimit", "datamark"]
ActionName = Literal["allow", "flag", "redact", "revise", "escalate", "block"]

DEFAULT_ACTION: dict[str, ActionName] = {"pii": "redact", "secrets": "redact", "unicode": "flag"}
"""By kind, where `block` would be too much."""

DEFAULT_STAGES: dict[str, tuple[Stage, ...]] = {"tool_call": ("output",)}
"""By kind, where one of the two has nothing to judge."""

DEFAULT_TIMEOUT = {"guard_llm": "10s"}
"""By kind, where two seconds are too few."""

REFUSAL = "I'm sorry, but I cannot assist with that request."
SLACK = 200


class Timeouts(Section):
    """Seconds."""

    connect: Duration = Field(default=5.0, examples=["5s"])
    """Until a new connection stands, name lookup and TLS included."""
    read: Duration = Field(default=300.0, examples=["300s"])
    """From asking a replica to the head of its answer."""
    idle: Duration = Field(default=60.0, examples=["60s"])
    """Between two pieces of the body."""


class Upstream(Section):
    name: Name = Field(examples=["vllm"])
    base_urls: tuple[BaseUrl, ...] = Field(default=(), examples=["[http://127.0.0.1:8000/v1]"])
    api_key: SecretStr | None = Field(default=None, examples=["${VLLM_API_KEY}"])
    kind: Literal["openai", "simulated"] = Field(default="openai", examples=["openai"])
    timeouts: Timeouts = Field(default=Timeouts(), examples=["{connect: 5s, read: 300s, idle: 60s}"])

    @field_validator("api_key")
    @classmethod
    def _no_empty_key(cls, value: SecretStr | None) -> SecretStr | None:
        """A variable that is set to nothing means no key."""
        if value and not re.fullmatch(r"[!-~]*", value.get_secret_value()):
            raise wrong("holds a blank, a line break or a letter that no HTTP header can carry")
        return value if value and value.get_secret_value() else None


class Model(Section):
    name: Name = Field(examples=["assistant"])
    upstream: str = Field(examples=["vllm"])
    upstream_model: Text = Field(default="", examples=["Qwen/Qwen3-8B"])
    """The upstream's own name for it; where the document gives none, `name`."""
    policy: str | None = Field(default=None, examples=["support"])

    @model_validator(mode="before")
    @classmethod
    def _same_name_upstream(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("upstream_model") is None and isinstance(data.get("name"), str):
            return {**data, "upstream_model": data["name"]}
        return data


class SystemPrompt(Section):
    text: str = Field(examples=['"You are ACME\'s assistant."'])
    mode: Literal["prepend", "replace", "only"] = Field(default="prepend", examples=["prepend"])


class Streaming(Section):
    mode: Literal["strict", "bounded", "audit"] = Field(default="strict", examples=["strict"])
    slack: Count | None = Field(default=None, examples=["200"])
    """Unjudged characters that may have left; set exactly when the mode is `bounded`."""

    @model_validator(mode="before")
    @classmethod
    def _from_mode(cls, data: object) -> object:
        data = {"mode": data} if isinstance(data, str) else data
        if isinstance(data, dict) and data.get("mode") == "bounded" and data.get("slack") is None:
            return {**data, "slack": SLACK}
        return data

    @model_validator(mode="after")
    def _slack_is_for_bounded(self) -> Streaming:
        if self.slack is not None and self.mode != "bounded":
            raise wrong("has `slack`, which only the mode bounded knows", "remove `slack`, or write mode: bounded")
        return self


class OnlyIf(Section):
    """A guard runs only where another one's score is uncertain: the costly one on the cheap one's grey band."""

    guard: str = Field(examples=["harm"])
    between: tuple[Ratio, Ratio] = Field(examples=["[0.3, 0.8]"])
    """Both ends belong to the band."""


class Rule(Section):
    """One guard of a policy. The keys below `category` belong to some kinds only."""

    name: Name = Field(examples=["codename"])
    kind: str = Field(examples=["pattern"])
    stages: tuple[Stage, ...] = Field(default=("input", "output"), examples=["[input, output]"])
    action: ActionName = Field(default="block", examples=["block"])
    mode: Mode = Field(default="enforce", examples=["enforce"])
    mandatory: Flag = Field(default=False, examples=["true"])
    """A document that lets anything by without this guard is wrong."""
    on_error: Literal["block", "allow", "escalate"] = Field(default="block", examples=["block"])
    timeout: Duration = Field(default=2.0, examples=["500ms"])
    category: str | None = Field(default=None, examples=["jailbreak"])
    thresholds: dict[str, Ratio] | None = Field(default=None, examples=["{flag: 0.4, block: 0.95}"])
    pattern: Text | None = Field(default=None, examples=[r"'Project [A-Z]\w{2,20}'"])
    ignore_case: Flag = Field(default=False, examples=["true"])
    terms: tuple[Text, ...] = Field(default=(), examples=['["blue heron", "red fox"]'])
    """Those of `terms_file` included once the document is loaded."""
    terms_file: Text | None = Field(default=None, examples=["terms.txt"])
    entities: tuple[str, ...] = Field(default=(), examples=["[email, phone]"])
    region: str | None = Field(default=None, examples=["US"])
    max_chars: Count | None = Field(default=None, examples=["20000"])
    min_run: Count | None = Field(default=None, examples=["40"])
    family: str | None = Field(default=None, examples=["llama_guard"])
    """How a guard LLM is asked, and how its answer is read."""
    base_url: BaseUrl | None = Field(default=None, examples=["http://127.0.0.1:8001/v1"])
    model: Text | None = Field(default=None, examples=["meta-llama/Llama-Guard-3-8B"])
    api_key: SecretStr | None = Field(default=None, examples=["${GUARD_API_KEY}"])
    labels: dict[str, str] | None = Field(default=None, examples=["{LABEL_1: jailbreak}"])
    """A model's labels -> categories; of the family `classify` all of them, in the order of the model's outputs."""
    multi_label: Flag = Field(default=False, examples=["true"])
    """Of the family `classify`: the labels do not exclude each other."""
    device: Text = Field(default="cpu", examples=["cuda:0"])
    remote_code: Flag = Field(default=False, examples=["true"])
    """Run the Python that comes with a model."""
    only_if: OnlyIf | None = Field(default=None, examples=["{guard: harm, between: [0.3, 0.8]}"])
    cache: Flag = Field(default=True, examples=["false"])
    """Scores of prompts are remembered."""
    allowed_tools: tuple[Text, ...] | None = Field(default=None, examples=['[search, "files_*"]'])
    """Names and globs; None: every tool that the request offers."""
    arguments: tuple[ArgumentRule, ...] = Field(
        default=(), examples=["[{tool: fetch, path: url, hosts: [example.org]}]"]
    )
    schemas: Annotated[Literal["enforce", "off"], Off] = Field(default="enforce", examples=["enforce"])
    """Whether arguments must fit the JSON Schema that the request gives for them."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: object, info: ValidationInfo) -> object:
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        kind, file, own = filled.get("kind"), filled.get("terms_file"), filled.get("terms", ())
        if "timeout" not in filled and isinstance(kind, str) and kind in DEFAULT_TIMEOUT:
            filled["timeout"] = DEFAULT_TIMEOUT[kind]
        if "stages" not in filled and isinstance(kind, str) and kind in DEFAULT_STAGES:
            filled["stages"] = DEFAULT_STAGES[kind]
        if "action" not in filled and isinstance(kind, str) and kind in DEFAULT_ACTION:
            filled["action"] = DEFAULT_ACTION[kind]
        if isinstance(info.context, Reading) and isinstance(file, str) and isinstance(own, list | tuple):
            filled["terms"] = [*own, *info.context.terms.get(file, ())]
        return filled


@dataclass(frozen=True, slots=True)
class KindSpec:
    """What a document may say of one guard kind."""

    keys: frozenset[str] = frozenset()
    """Its own keys, beside those of every kind. With `thresholds` among them it scores; else it is exact."""
    required: frozenset[str] = frozenset()
    check: Callable[[Rule], Sequence[Complaint]] | None = None
    """What else is wrong with a rule whose values have the right types."""
    cached: bool = False
    """The same text gets the same scores again, so that they may be remembered."""
    calls: bool = False
    """Judges whole tool calls, not texts."""


class Policy(Section):
    name: Name = Field(examples=["support"])
    system_prompt: SystemPrompt | None = Field(
        default=None, examples=['{text: "You are ACME\'s assistant.", mode: prepend}']
    )
    on_block: Literal["refuse", "error"] = Field(default="refuse", examples=["refuse"])
    refusal: Text = Field(default=REFUSAL, examples=[f'"{REFUSAL}"'])
    streaming: Streaming = Field(default=Streaming(), examples=["{mode: strict}"])
    escalation: Escalation = Field(
        default=Escalation(), examples=["{deliver: withhold, wait: 20s, deadline: 30m, on_deadline: block}"]
    )
    review: Review = Field(default=Review(), examples=["{reviews: 1, audit_share: 0.01, retention: 90d}"])
    spotlight: Annotated[Spotlight, Off] = Field(default="off", examples=["datamark"])
    """How the model is shown which texts are data that nobody here wrote: tool results and documents."""
    media: Media = Field(default=Media(), examples=["{hosts: [images.example.org], unjudged: flag}"])
    guards: tuple[Rule, ...] = Field(default=(), examples=["[{name: pii, kind: pii, action: redact}]"])
    on_log_failure: Literal["block", "allow"] = Field(default="block", examples=["block"])

    @cached_property
    def hash(self) -> str:
        """Of everything that judges, the terms of `terms_file` included; names, files and caches do not judge."""
        rules = {"__all__": {"terms_file", "cache"}}
        return digest(self.model_dump(mode="json", exclude={"name": True, "review": True, "guards": rules}))


class Limits(Section):
    """None: no limit."""

    requests_per_minute: Count | None = Field(default=None, examples=["600"])
    tokens_per_minute: Count | None = Field(default=None, examples=["200000"])
    concurrent: Count | None = Field(default=None, examples=["50"])


class Tenant(Section):
    name: Name = Field(examples=["acme"])
    keys: tuple[KeyHash, ...] = Field(default=(), min_length=1, examples=['["sha256:<64 hex digits>"]'])
    """Beside those that `wardgate keys new` makes."""
    models: tuple[str, ...] = Field(min_length=1, examples=["[assistant]"])
    limits: Limits = Field(default=Limits(), examples=["{requests_per_minute: 600}"])
    policy: str | None = Field(default=None, examples=["support"])
    """Overrides the policy of the model."""


class Server(Section):
    max_body: Size = Field(default=32 << 20, examples=["32MB"])
    """Bytes of a request."""
    body_timeout: Duration = Field(default=30.0, examples=["30s"])
    """For a request's body to arrive."""
    max_frame: Size = Field(default=8 << 20, examples=["8MB"])
    """Bytes of one frame of an upstream's stream."""
    on_limiter_failure: Literal["allow", "block"] = Field(default="allow", examples=["allow"])
    """What becomes of requests of a limited tenant while Redis is away."""
    idempotency_ttl: Duration = Field(default=86400.0, examples=["24h"])
    """For which the answer to a request with an `Idempotency-Key` is kept."""
    idempotency_max_answer: Size = Field(default=1 << 20, examples=["1MB"])
    """Bytes of the largest answer that is kept."""


class Document(Section):
    version: Literal[1] = Field(examples=["1"])
    upstreams: tuple[Upstream, ...] = Field(
        min_length=1, examples=["[{name: vllm, base_urls: [http://127.0.0.1:8000/v1]}]"]
    )
    models: tuple[Model, ...] = Field(min_length=1, examples=["[{name: assistant, upstream: vllm, policy: support}]"])
    policies: tuple[Policy, ...] = Field(default=(), examples=["[{name: support, guards: []}]"])
    tenants: tuple[Tenant, ...] = Field(
        default=(), examples=['[{name: acme, keys: ["sha256:…"], models: [assistant]}]']
    )
    """None at all: the gateway is open."""
    server: Server = Field(default=Server(), examples=["{max_body: 32MB}"])
    passthrough: tuple[Route, ...] = Field(default=(), examples=["[/tokenize, /v1/score]"])
    """Paths that are handed to the upstream as they are, judged by nobody."""
    webhooks: tuple[Webhook, ...] = Field(
        default=(), examples=['[{url: "https://app.example.org/reviews", secret: "${WEBHOOK_SECRET}"}]']
    )
    """Told of every decision that takes effect."""

    @cached_property
    def hash(self) -> str:
        """Of the whole document but for the upstreams' keys."""
        data = self.model_dump(mode="json", exclude={"upstreams": {"__all__": {"api_key"}}})
        return digest(data)

    def policy_of(self, model: Model, tenant: Tenant | None = None) -> Policy | None:
        """The policy that judges what this tenant asks of this model: the tenant's own, else the model's."""
        wanted = (tenant.policy if tenant else None) or model.policy
        return next((p for p in self.policies if p.name == wanted), None)

    def label(self, policy: Policy) -> str:
        """`name@hash`, as the answer's `x-wardgate-policy` says it."""
        return f"{policy.name}@{policy.hash}"


def digest(data: object) -> str:
    """First 12 hex digits of the SHA-256 of the canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
