"""Builds everything and closes everything: the one place that knows how the gateway's parts are put together."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from classifiers.model import ModelError
from gateway.access import Access, Plans
from gateway.api.asgi import Message, Receive, Scope, Send
from gateway.api.checks import Checks, Form
from gateway.api.desk import desk_routes
from gateway.api.door import Door
from gateway.api.errors import install
from gateway.api.guard import GuardForm
from gateway.api.health import health_routes
from gateway.api.litellm import LiteLLMForm
from gateway.api.models import model_routes
from gateway.api.moderations import moderation_routes
from gateway.api.passthrough import Passthrough
from gateway.api.reviews import review_routes
from gateway.api.surface import Surface
from gateway.classifying import Classifying
from gateway.config import Config
from gateway.console.routes import console_routes
from gateway.console.sessions import Sessions
from gateway.exchange import Exchange
from gateway.life import TICK, Life, Live
from gateway.live.answers import Answers
from gateway.live.batch import Batch
from gateway.live.embedded import EmbeddedRedis, EmbeddedRedisError
from gateway.live.flags import FlagLog
from gateway.live.keys import KeyRing, KeyStore
from gateway.live.limits import Limiter
from gateway.live.recorder import Recorder
from gateway.live.sealing import Sealing
from gateway.live.spool import Spool
from gateway.live.verdicts import Verdicts
from gateway.logs import configure
from gateway.metrics import Metrics
from gateway.review.changes import Changes
from gateway.review.desk import Desk
from gateway.review.ledger import Ledger
from gateway.review.opening import Opener
from gateway.review.outputs import Outputs
from gateway.review.queue import ReviewQueue
from gateway.review.records import Records
from gateway.review.webhooks import Dispatcher
from gateway.settings import Settings
from gateway.vault import Vault, vault_of
from gateway.wire.chat import ChatWire
from gateway.wire.completions import CompletionsWire
from gateway.wire.embeddings import EmbeddingsWire
from gateway.wire.messages import CountTokensWire, MessagesWire
from gateway.wire.responses.wire import ResponsesWire
from gateway.wire.surface import Wire
from guards.document import DocumentError

LOG = logging.getLogger("wardgate")
WIRES: Sequence[Wire] = (
    ChatWire(),
    CompletionsWire(),
    EmbeddingsWire(),
    MessagesWire(),
    CountTokensWire(),
    ResponsesWire(),
)
CONNECTIONS = 1000
"""To Redis, at most: one for each flag that is being written, and each page that listens."""
BOUND: Mapping[str, Callable[[Exchange], Wire]] = {ResponsesWire().route: ResponsesWire.of}
"""Route -> the wire for one exchange."""
FORMS: Sequence[Form] = (GuardForm(), LiteLLMForm())


@dataclass(slots=True)
class Gateway:
    """The ASGI application: the hot path goes straight to its surface, the rest through FastAPI."""

    web: FastAPI
    surfaces: Mapping[str, Surface | Checks]
    """Route -> what serves it."""
    passthrough: Passthrough
    flags: FlagLog
    ready: asyncio.Event
    """Set once requests are served."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        surface = self.surfaces.get(scope["path"]) if scope["type"] == "http" else None
        if surface is not None:
            await surface(scope, receive, send)
        elif scope["type"] == "http" and self.passthrough.takes(scope["path"]):
            await self.passthrough(scope, receive, send)
        else:
            await self.web(scope, receive, plainly(send) if scope["type"] == "lifespan" else send)


def plainly(send: Send) -> Send:
    """Tells in one line what an operator can mend; Starlette sends the traceback of whatever stopped the start."""
    known = tuple(f"{kind.__module__}.{kind.__name__}: " for kind in (ModelError, EmbeddedRedisError, DocumentError))

    async def tell(message: Message) -> None:
        lines = str(message.get("message", "")).strip().splitlines()
        cause = next((line for line in reversed(lines) if line.startswith(known)), None)
        await send({**message, "message": cause.split(": ", 1)[1]} if cause else message)

    return tell


def create_from_environment() -> Gateway:
    """The factory that worker processes call."""
    settings = Settings.read()
    configure(settings.log_level)
    return create_app(settings)


def create_app(settings: Settings) -> Gateway:
    """A gateway for these settings; it starts and stops with the server's lifespan."""
    if settings.config is None:
        raise RuntimeError("no config: pass --config FILE or set WARDGATE_CONFIG")
    metrics = Metrics.build(multiprocess=settings.metrics_dir is not None)
    classifying = Classifying()
    embedded = None if settings.redis_url else EmbeddedRedis(settings.data)
    url = settings.redis_url or (embedded.url if embedded else "")
    retry = Retry(NoBackoff(), 1)
    redis = Redis.from_url(
        url, retry=retry, socket_connect_timeout=1.0, socket_timeout=5.0, max_connections=CONNECTIONS
    )
    batch = Batch(redis)
    verdicts = Verdicts(redis, batch, metrics)
    config = Config(settings.config, settings.environ, metrics, classifying, verdicts)
    vault = vault_of(redis, settings.encryption_keys)
    flags = FlagLog(redis, sealing=Sealing(vault))
    recorder = Recorder(flags, Spool(settings.data / "spool"), sealing=Sealing(vault))
    kept, ring = Batch(redis, what="idempotency keys"), KeyRing(KeyStore(redis))
    limiter = Limiter(batch)
    access = Access(config, ring, limiter, Answers(kept, vault=vault), metrics)
    reviewing = Reviewing.build(redis, vault, config, flags, metrics)
    parts = reviewing.queue, reviewing.dispatcher, reviewing.records, reviewing.changes
    live = Live(batch, kept, ring, limiter, *parts)
    life = Life(config, recorder, flags, redis, verdicts, embedded, metrics, classifying, live)
    web = FastAPI(title="Wardgate", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life.span)
    install(web)
    web.include_router(health_routes(config, recorder, metrics))
    web.include_router(model_routes(config, access))
    web.include_router(moderation_routes(config, classifying, metrics, access))
    web.include_router(review_routes(access, reviewing.queue, reviewing.outputs))
    web.include_router(desk_routes(reviewing.desk, access))
    web.include_router(console_routes(reviewing.desk, access, Sessions(redis, ring)))
    door = Door(access, metrics)
    surfaces: dict[str, Surface | Checks] = {
        w.route: Surface(w, door, recorder, reviewing.opener, BOUND.get(w.route)) for w in WIRES
    }
    surfaces |= {form.route: Checks(form, door, recorder) for form in FORMS}
    return Gateway(web, surfaces, Passthrough(config, door), flags, life.ready)


@dataclass(frozen=True, slots=True)
class Reviewing:
    """What has to do with cases."""

    queue: ReviewQueue
    outputs: Outputs
    opener: Opener
    dispatcher: Dispatcher
    desk: Desk
    records: Records
    changes: Changes

    @classmethod
    def build(cls, redis: Redis, vault: Vault, plans: Plans, flags: FlagLog, metrics: Metrics) -> Reviewing:
        ledger = Ledger(redis)
        queue = ReviewQueue(redis, ledger, vault=vault)
        outputs = Outputs(queue, vault)
        dispatcher = Dispatcher(redis, plans, queue, outputs, metrics, tick=TICK)
        changes = Changes(redis, queue.changes)
        desk = Desk(queue, vault, ledger, flags, plans=plans, changes=changes, letters=dispatcher)
        opener, records = Opener(queue, vault, outputs, metrics), Records(flags, queue, ledger)
        return cls(queue, outputs, opener, dispatcher, desk, records, changes)


def clean_metrics(settings: Settings) -> None:
    """Series of workers that are no more must not count."""
    if settings.metrics_dir is not None:
        shutil.rmtree(settings.metrics_dir, ignore_errors=True)
        settings.metrics_dir.mkdir(parents=True)
