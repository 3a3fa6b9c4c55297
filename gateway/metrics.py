"""Every Prometheus series, declared once. Labels come from closed sets: never a key, an id, a prompt or a raw path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from gateway.review.views import Counts
from gateway.upstream.protocol import ReplicaState
from guards.verdict import Stage, Verdict

SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
"""vLLM's buckets for time to first token, so that panels overlay."""
FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
CHARS = (0, 1, 4, 16, 64, 256, 1024, 4096, 16384)
BREAKER = {"closed": 0, "half_open": 1, "open": 2}


@dataclass(slots=True)
class Metrics:
    """The gateway's series. With several workers each writes files of its own and one scrape adds them up."""

    registry: CollectorRegistry
    requests: Counter
    duration: Histogram
    first_token: Histogram
    decisions: Counter
    guard_seconds: Histogram
    guard_errors: Counter
    held_chars: Histogram
    exposed: Counter
    inflight: Gauge
    outstanding: Gauge
    breaker: Gauge
    flags: Counter
    flags_lost: Counter
    spooled: Gauge
    cases: Gauge
    oldest_case: Gauge
    cases_opened: Counter
    webhooks: Counter
    reloads: Counter
    recalls: Counter
    limited: Counter
    limiter_failures: Counter
    idempotent: Counter
    multiprocess: bool = False
    _children: dict[tuple[object, ...], Counter | Histogram] = field(default_factory=dict)

    @classmethod
    def build(cls, *, multiprocess: bool = False) -> Metrics:
        r = CollectorRegistry()
        return cls(
            r,
            Counter("wardgate_requests", "Requests answered.", ["model_name", "route", "status"], registry=r),
            Histogram(
                "wardgate_request_duration_seconds",
                "From request to last byte.",
                ["model_name"],
                buckets=SECONDS,
                registry=r,
            ),
            Histogram(
                "wardgate_time_to_first_token_seconds",
                "From request to first byte.",
                ["model_name"],
                buckets=SECONDS,
                registry=r,
            ),
            Counter("wardgate_guard_decisions", "Findings.", ["guard", "stage", "category", "action"], registry=r),
            Histogram(
                "wardgate_guard_duration_seconds",
                "Time in the exact lane, per step.",
                ["stage"],
                buckets=FAST,
                registry=r,
            ),
            Counter("wardgate_guard_errors", "Guards that crashed or timed out.", ["guard", "reason"], registry=r),
            Histogram(
                "wardgate_held_chars", "Characters held back after each step of a stream.", buckets=CHARS, registry=r
            ),
            Counter("wardgate_exposed_chars", "Characters that left before a verdict on them.", ["guard"], registry=r),
            Gauge("wardgate_requests_in_flight", "Requests being served.", registry=r, multiprocess_mode="livesum"),
            Gauge(
                "wardgate_upstream_outstanding",
                "Requests at a replica.",
                ["upstream", "replica"],
                registry=r,
                multiprocess_mode="livesum",
            ),
            Gauge(
                "wardgate_upstream_breaker_state",
                "0 closed, 1 half open, 2 open.",
                ["upstream", "replica"],
                registry=r,
                multiprocess_mode="livemax",
            ),
            Counter("wardgate_flagged_exchanges", "Exchanges kept in the flag log.", registry=r),
            Counter("wardgate_flags_not_durable", "Flag parts that could be kept nowhere.", registry=r),
            Gauge("wardgate_spooled_flags", "Flag parts waiting for Redis.", registry=r, multiprocess_mode="livemax"),
            Gauge("wardgate_review_items", "Cases.", ["state"], registry=r, multiprocess_mode="mostrecent"),
            Gauge(
                "wardgate_review_oldest_age_seconds",
                "Age of the oldest case that is not closed.",
                registry=r,
                multiprocess_mode="mostrecent",
            ),
            Counter("wardgate_review_opened", "Cases.", ["source", "deliver"], registry=r),
            Counter("wardgate_webhook_deliveries", "Letters to webhooks.", ["result"], registry=r),
            Counter("wardgate_config_reloads", "Config reloads.", ["result"], registry=r),
            Counter("wardgate_verdict_cache_lookups", "Texts looked up, for a classifier.", ["result"], registry=r),
            Counter("wardgate_rate_limited", "Requests past a limit.", ["limit"], registry=r),
            Counter("wardgate_limiter_failures", "Requests whose limits nobody could look up.", registry=r),
            Counter("wardgate_idempotent_requests", "Requests with an Idempotency-Key.", ["result"], registry=r),
            multiprocess,
        )

    def judged(self, stage: Stage, seconds: float) -> None:
        self._observe(self.guard_seconds, (stage,), seconds)

    def held(self, chars: int) -> None:
        self.held_chars.observe(chars)

    def first_byte(self, model: str, seconds: float) -> None:
        self._observe(self.first_token, (model,), seconds)

    def recalled(self, hits: int, misses: int, *, away: bool) -> None:
        self.recalls.labels("hit").inc(hits)
        self.recalls.labels("away" if away else "miss").inc(misses)

    def waiting(self, counts: Sequence[Counts], now: float) -> None:
        """How many cases wait, and for how long."""
        for state in ("ready", "senior", "leased", "deciding"):
            self.cases.labels(state).set(sum(getattr(c, state) for c in counts))
        oldest = min((c.oldest for c in counts if c.oldest is not None), default=now)
        self.oldest_case.set(max(0.0, now - oldest))

    def webhook(self, result: str) -> None:
        self.webhooks.labels(result).inc()

    def flag_lost(self) -> None:
        self.flags_lost.inc()

    def answered(self, model: str, route: str, status: str, seconds: float, verdicts: list[Verdict]) -> None:
        key = (self.requests, model, route, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self.requests.labels(model, route, status)
        if isinstance(child, Counter):
            child.inc()
        self._observe(self.duration, (model,), seconds)
        for v in verdicts:
            self.decisions.labels(v.guard, v.stage, v.category, str(v.action)).inc()
            if v.error:
                self.guard_errors.labels(v.guard, v.error).inc()

    def _observe(self, histogram: Histogram, labels: tuple[str, ...], value: float) -> None:
        key = (histogram, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = histogram.labels(*labels)
        if isinstance(child, Histogram):
            child.observe(value)

    def replicas(self, upstream: str, states: list[ReplicaState]) -> None:
        for state in states:
            self.outstanding.labels(upstream, state.url).set(state.outstanding)
            self.breaker.labels(upstream, state.url).set(BREAKER[state.breaker])

    def render(self) -> bytes:
        """The exposition text; with several workers, of all of them."""
        if not self.multiprocess:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        collect: Callable[[CollectorRegistry], object] = multiprocess.MultiProcessCollector
        collect(merged)
        return generate_latest(merged)
