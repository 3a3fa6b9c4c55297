"""Builds everything and closes everything: the one place that knows how the gateway's parts are put together."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from classifiers.model import ModelError
from gateway.access import Access
from gateway.api.asgi import Message, Receive, Scope, Send
from gateway.api.checks import Checks, Form
from gateway.api.door import Door
from gateway.api.errors import install
from gateway.api.guard import GuardForm
from gateway.api.health import health_routes
from gateway.api.litellm import LiteLLMForm
from gateway.api.models import model_routes
from gateway.api.moderations import moderation_routes
from gateway.api.passthrough import Passthrough
from gateway.api.surface import Surface
from gateway.classifying import Classifying
from gateway.config import Config
from gateway.exchange import Exchange
from gateway.live.answers import Answers
from gateway.live.batch import Batch
from gateway.live.embedded import EmbeddedRedis, EmbeddedRedisError
from gateway.live.flags import FlagLog
from gateway.live.keys import KeyRing, KeyStore
from gateway.live.limits import Limiter
from gateway.live.recorder import Recorder
from gateway.live.spool import Spool
from gateway.live.verdicts import Verdicts
from gateway.logs import configure
from gateway.metrics import Metrics
from gateway.settings import Settings
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
BOUND: Mapping[str, Callable[[Exchange], Wire]] = {ResponsesWire().route: ResponsesWire.of}
"""Route -> the wire for one exchange."""
FORMS: Sequence[Form] = (GuardForm(), LiteLLMForm())
TICK = 0.5
"""Seconds. All of the gateway's own clocks tick alike, so that an idle process wakes seldom."""


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
    redis = Redis.from_url(url, retry=Retry(NoBackoff(), 1), socket_connect_timeout=1.0, socket_timeout=5.0)
    batch = Batch(redis)
    verdicts = Verdicts(redis, batch, metrics)
    config = Config(settings.config, settings.environ, metrics, classifying, verdicts)
    flags = FlagLog(redis)
    recorder = Recorder(flags, Spool(settings.data / "spool"))
    kept, ring = Batch(redis, what="idempotency keys"), KeyRing(KeyStore(redis))
    limiter = Limiter(batch)
    access = Access(config, ring, limiter, Answers(kept), metrics)
    live = Live(batch, kept, ring, limiter)
    life = Life(config, recorder, flags, redis, verdicts, embedded, metrics, classifying, live)
    web = FastAPI(title="Wardgate", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life.span)
    install(web)
    web.include_router(health_routes(config, recorder, metrics))
    web.include_router(model_routes(config, access))
    web.include_router(moderation_routes(config, classifying, metrics, access))
    door = Door(access, metrics)
    surfaces: dict[str, Surface | Checks] = {w.route: Surface(w, door, recorder, BOUND.get(w.route)) for w in WIRES}
    surfaces |= {form.route: Checks(form, door, recorder) for form in FORMS}
    return Gateway(web, surfaces, Passthrough(config, door), flags, life.ready)


@dataclass(frozen=True, slots=True)
class Live:
    """What of keys and limits goes on beside the requests."""

    batch: Batch
    """Of what a request must know before it is served."""
    kept: Batch
    """Of answers that are kept: large ones must not make others wait."""
    ring: KeyRing
    limiter: Limiter


@dataclass(slots=True)
class Life:
    """What lives from the first request to the last."""

    config: Config
    recorder: Recorder
    flags: FlagLog
    redis: Redis
    verdicts: Verdicts
    embedded: EmbeddedRedis | None
    metrics: Metrics
    classifying: Classifying
    live: Live
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    reloading: asyncio.Task[bool] | None = None

    @asynccontextmanager
    async def span(self, _: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if self.embedded is not None:
                await asyncio.to_thread(self.embedded.start)
                stack.callback(self.embedded.stop)
            stack.push_async_callback(self.redis.aclose)
            stack.push_async_callback(self.verdicts.close)
            stack.push_async_callback(self.live.batch.close)
            stack.push_async_callback(self.live.kept.close)
            stack.push_async_callback(self.classifying.close)
            await self.config.start()
            stack.push_async_callback(self.config.close)
            await self._announce()
            await self.live.ring.refresh()
            lasting = (self.live.ring.watch(), self.live.limiter.renew_forever())
            for job in (self.config.watch(), self.recorder.drain_forever(), self._tick(), *lasting):
                stack.push_async_callback(_stop, asyncio.create_task(job))
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
            stack.callback(loop.remove_signal_handler, signal.SIGHUP)
            settle_memory()
            self.ready.set()
            yield

    def _on_hangup(self) -> None:
        self.reloading = asyncio.get_running_loop().create_task(self.config.reload())

    async def _announce(self) -> None:
        plan = self.config.plan
        LOG.info("policies in force: %s", ", ".join(g.label for g in plan.guarded.values() if g.policy.guards))
        if not plan.document.tenants:
            LOG.warning("the config has no tenants: the gateway is OPEN to everyone who reaches it")
        if plan.document.passthrough:
            LOG.warning("no guard judges the passthrough paths: %s", ", ".join(plan.document.passthrough))
        try:
            warning = await self.flags.durability()
        except (OSError, RedisError) as error:
            warning = f"Redis does not answer ({error}); flags go to the spool"
        if warning:
            LOG.warning("%s", warning)

    async def _tick(self) -> None:
        """Keeps the embedded Redis alive, and the gauges true."""
        while True:
            if self.embedded is not None:
                self.embedded.ensure()
            for name, server in self.config.plan.servers.items():
                self.metrics.replicas(name, server.states())
            self.metrics.spooled.set(self.recorder.spooled)
            await asyncio.sleep(TICK)


def settle_memory() -> None:
    """Guards are tens of thousands of objects that live on; the collector need not walk them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def clean_metrics(settings: Settings) -> None:
    """Series of workers that are no more must not count."""
    if settings.metrics_dir is not None:
        shutil.rmtree(settings.metrics_dir, ignore_errors=True)
        settings.metrics_dir.mkdir(parents=True)
