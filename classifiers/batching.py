"""Samples through a network: off the event loop, batched across requests, bounded, remembered.

Windows of all requests wait in one place. A worker thread takes up to `BATCH` of them, a few of each request in turn,
so that a long document does not hold up a short question; what arrives while it works is the next batch. No timer is
needed for that: an idle worker takes what there is at once, a busy one finds a batch when it comes back.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from classifiers.classifier import ClassifierError, Sample, Scores

BATCH = 32
"""Windows that one run of the network takes."""
TURNS = 4
"""Requests that share a batch while others wait."""
SHORT = 4000
"""Characters up to which texts are cut into tokens on the event loop, which is faster than asking a thread."""
HEAD = 2000
"""Characters of its prompt that a response is read with."""
SPREAD = 1.5
"""A batch is split where its longest window is longer than its shortest by more than this: padding is work."""
WARM = tuple(Sample("warm up " * n) for n in (1, 20, 300))

Row = NDArray[np.float32]
"""What the network says of one window."""


class Piece(Protocol):
    """A window, as far as it matters here."""

    @property
    def ids(self) -> Sequence[int]: ...


W = TypeVar("W", bound=Piece)


class Scorer(Protocol[W]):
    """What differs from one model to the next. All of it is called by several threads at once."""

    def cut(self, samples: Sequence[Sample]) -> list[list[W]]:
        """The windows of each sample, together all of its text; at least one."""

    def rows(self, windows: Sequence[W]) -> Row:
        """One row a window: the slow part."""

    def scores(self, sample: Sample, rows: Sequence[Row]) -> Scores:
        """Of a sample, from the rows of all its windows, in order."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a local classifier may take."""

    workers: int = 1
    """Threads, each with a core of its own at full load."""
    windows: int = 2048
    """That may wait. One more request is refused (`queue_full`): better a quick no than an answer nobody waits for."""
    batch: int = BATCH
    """Windows that a worker takes at once. All of them are told when the last is done: no more than save work."""
    remembered: int = 8192
    """Texts whose scores are kept: the history of a conversation comes again with every turn."""


@dataclass(slots=True, eq=False)
class Job(Generic[W]):
    """The windows of one request on their way through the network."""

    todo: deque[tuple[int, W]]
    done: asyncio.Future[None]
    left: int
    """Windows without a row."""
    rows: dict[int, Row] = field(default_factory=dict)

    def fill(self, place: int, row: Row) -> None:
        self.rows[place] = row
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)

    def refuse(self, why: str, cause: BaseException | None = None) -> None:
        if not self.done.done():
            error = ClassifierError(why, "unavailable")
            error.__cause__ = cause
            self.done.set_exception(error)


class Taken(NamedTuple, Generic[W]):
    """A window in a batch, and where its row belongs."""

    job: Job[W]
    place: int
    window: W


class Memory:
    """The scores of the latest samples, by digest: a text may be long, and what clients sent should not stay."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._scores: OrderedDict[bytes, Scores] = OrderedDict()

    def get(self, key: bytes) -> Scores | None:
        return self._scores.get(key)

    def keep(self, key: bytes, scores: Scores) -> None:
        self._scores[key] = scores
        self._scores.move_to_end(key)
        if len(self._scores) > self._size:
            self._scores.popitem(last=False)


class Batching(Generic[W]):
    """The `classify` of local models. `start()` before use."""

    def __init__(self, scorer: Scorer[W], limits: Limits | None = None) -> None:
        self._scorer = scorer
        self._limits = limits or Limits()
        self._memory = Memory(self._limits.remembered)
        self._jobs: deque[Job[W]] = deque()
        self._waiting = 0
        self._running = 0
        self._pool: ThreadPoolExecutor | None = None

    @property
    def waiting(self) -> int:
        """Windows that wait for a worker."""
        return self._waiting

    async def start(self) -> None:
        """Ready, and warm: the first request is not the one that pays for memory and code that was never run."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._limits.workers, thread_name_prefix="classifier")
            try:
                await self._run(WARM)
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """What a worker has begun is finished; who waits for more than that is refused."""
        pool, self._pool = self._pool, None
        for job in list(self._jobs):
            self._drop(job)
            job.refuse("the classifier was closed")
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)

    async def classify(self, samples: Sequence[Sample]) -> list[Scores]:
        """ClassifierError `queue_full` where too much waits, `unavailable` where it was not started."""
        self._check_open()
        keys = [digest(s) for s in samples]
        found = {key: scores for key in keys if (scores := self._memory.get(key)) is not None}
        fresh = {key: s for key, s in zip(keys, samples, strict=True) if key not in found}
        if fresh:
            found.update(zip(fresh, await self._run(list(fresh.values())), strict=True))
        for key, scores in found.items():
            self._memory.keep(key, scores)
        return [found[key] for key in keys]

    async def _run(self, samples: Sequence[Sample]) -> list[Scores]:
        # Before the work of cutting, and in `_rows` again: a thread may cut for long, and others come meanwhile.
        self._admit(1)
        small = sum(len(s.text) + min(len(s.prompt), HEAD) for s in samples) <= SHORT
        cut = self._scorer.cut(samples) if small else await asyncio.to_thread(self._scorer.cut, samples)
        rows = iter(await self._rows([window for windows in cut for window in windows]))
        return [self._scorer.scores(s, list(islice(rows, len(w)))) for s, w in zip(samples, cut, strict=True)]

    async def _rows(self, windows: Sequence[W]) -> list[Row]:
        if not windows:
            return []
        self._admit(len(windows))
        job = Job(deque(enumerate(windows)), asyncio.get_running_loop().create_future(), len(windows))
        self._jobs.append(job)
        self._waiting += len(windows)
        self._dispatch()
        try:
            await job.done
        finally:
            self._drop(job)
        return [job.rows[place] for place in range(len(windows))]

    def _check_open(self) -> None:
        if self._pool is None:
            raise ClassifierError("the classifier is not started, or closed", "unavailable")

    def _admit(self, count: int) -> None:
        """One request is let in however long it is, where nothing else waits: it would never be let in otherwise."""
        self._check_open()
        if self._waiting and self._waiting + count > self._limits.windows:
            raise ClassifierError("too many texts wait for the classifier", "queue_full")

    def _drop(self, job: Job[W]) -> None:
        """It is done, or nobody waits for it any more. Jobs stand in the queue while they have something to do."""
        if job.todo:
            self._jobs.remove(job)
            self._waiting -= len(job.todo)
            job.todo.clear()

    def _dispatch(self) -> None:
        """Give every free worker a batch."""
        while self._pool is not None and self._running < self._limits.workers and (batch := self._batch()):
            self._running += 1
            run = partial(self._score, [taken.window for taken in batch])
            ran = asyncio.get_running_loop().run_in_executor(self._pool, run)
            ran.add_done_callback(partial(self._on_scored, batch))

    def _batch(self) -> list[Taken[W]]:
        """The next windows, a share of each request in turn. Workers that are free share what waits."""
        free = self._limits.workers - self._running
        room = min(self._limits.batch, -(-self._waiting // free))
        share = room if len(self._jobs) == 1 else max(1, self._limits.batch // TURNS)
        batch: list[Taken[W]] = []
        for _ in range(len(self._jobs)):
            if len(batch) < room:
                job = self._jobs.popleft()
                batch.extend(take(job, min(share, room - len(batch))))
                self._jobs.extend([job] if job.todo else [])
        self._waiting -= len(batch)
        return batch

    def _score(self, windows: Sequence[W]) -> list[Row]:
        """In a worker thread."""
        out: dict[int, Row] = {}
        for group in alike([len(w.ids) for w in windows]):
            rows = self._scorer.rows([windows[i] for i in group])
            # NaN is below every threshold: it must not pass for a low score.
            if not np.isfinite(rows).all():
                raise FloatingPointError("the network gave something that is no number")
            out.update(zip(group, rows, strict=True))
        return [out[i] for i in range(len(windows))]

    def _on_scored(self, batch: Sequence[Taken[W]], ran: asyncio.Future[list[Row]]) -> None:
        self._running -= 1
        error = ran.exception()
        if error is not None:
            for taken in batch:
                self._drop(taken.job)
                taken.job.refuse(f"the network failed: {type(error).__name__}", error)
        else:
            for taken, row in zip(batch, ran.result(), strict=True):
                taken.job.fill(taken.place, row)
        self._dispatch()


def take(job: Job[W], count: int) -> Iterator[Taken[W]]:
    for _ in range(min(count, len(job.todo))):
        yield Taken(job, *job.todo.popleft())


def alike(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Places of like sizes together, the smallest first."""
    group: list[int] = []
    for place in sorted(range(len(sizes)), key=sizes.__getitem__):
        if group and sizes[place] > SPREAD * sizes[group[0]] + 8:
            yield group
            group = []
        group.append(place)
    yield group


def digest(sample: Sample) -> bytes:
    """Equal for equal samples only; the lengths keep a prompt's end apart from its text's beginning."""
    head = f"{sample.role} {len(sample.prompt)} {len(sample.text)} "
    whole = (head + sample.prompt + sample.text).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=32).digest()
