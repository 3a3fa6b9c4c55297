"""The queue of local classifiers, before a scorer that needs no model: a word is a window, its length is its score."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest

from classifiers.batching import BATCH, SHORT, Batching, Limits, Row, alike, digest
from classifiers.classifier import ClassifierError, Sample, Scores

LONG = " ".join(["word"] * 1000)


class Word(NamedTuple):
    ids: list[int]


class Lengths:
    """A scorer whose workers wait while the gate is shut; it says so when a word is `broken` or `nan`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.begun = 0
        self.sizes: list[int] = []
        """Of the batches, one after another."""
        self.cutting = threading.Event()
        self.slow_cut = 0.0

    def cut(self, samples: Sequence[Sample]) -> list[list[Word]]:
        self.cutting.set()
        time.sleep(self.slow_cut)
        return [[Word([ord(c) for c in word]) for word in s.text.split()] for s in samples]

    def rows(self, windows: Sequence[Word]) -> Row:
        self.begun += 1
        assert self.gate.wait(10)
        words = ["".join(map(chr, w.ids)) for w in windows]
        if "broken" in words:
            raise RuntimeError("broken")
        self.sizes.append(len(windows))
        return np.array([[np.nan if w == "nan" else len(w)] for w in words], dtype=np.float32)

    def scores(self, sample: Sample, rows: Sequence[Row]) -> Scores:
        return {"first": float(rows[0][0]), "longest": float(max(row[0] for row in rows))}


@pytest.fixture
def scorer() -> Lengths:
    return Lengths()


@pytest.fixture
async def batching(scorer: Lengths) -> AsyncIterator[Batching[Word]]:
    batching = Batching(scorer, Limits(windows=1500))
    await batching.start()
    scorer.sizes.clear()
    scorer.begun = 0
    yield batching
    scorer.gate.set()
    await batching.close()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


def ask(batching: Batching[Word], *texts: str) -> asyncio.Task[list[Scores]]:
    return asyncio.create_task(batching.classify([Sample(t) for t in texts]))


async def hold(batching: Batching[Word], scorer: Lengths) -> asyncio.Task[list[Scores]]:
    """Shuts the gate behind a worker: whatever comes now waits."""
    scorer.gate.clear()
    held = ask(batching, "held")
    await until(lambda: scorer.begun == 1)
    return held


async def test_scores_come_in_the_order_of_the_samples(batching: Batching[Word]) -> None:
    texts = ["aaa bbbbbbb", "c", "dd " * 70 + "eeeee", "c", "ffffff f"]
    found = await batching.classify([Sample(t) for t in texts])
    assert [(s["first"], s["longest"]) for s in found] == [(3, 7), (1, 1), (2, 5), (1, 1), (6, 6)]


async def test_rows_of_a_text_come_in_its_order_though_batches_are_sorted_by_length(batching: Batching[Word]) -> None:
    [found] = await batching.classify([Sample("twelveletters " + "a " * 50)])
    assert found == {"first": 13, "longest": 13}


async def test_a_sample_given_twice_is_scored_once(batching: Batching[Word], scorer: Lengths) -> None:
    assert await batching.classify([Sample("aa"), Sample("aa")]) == [{"first": 2, "longest": 2}] * 2
    assert scorer.sizes == [1]


async def test_a_long_document_does_not_hold_up_a_short_question(batching: Batching[Word], scorer: Lengths) -> None:
    held = await hold(batching, scorer)
    long, short = ask(batching, LONG), ask(batching, "short question")
    await until(lambda: batching.waiting == 1002)
    scorer.gate.set()
    await short
    assert not long.done()
    assert len(scorer.sizes) <= 3  # the held one, then the first shares of both
    await asyncio.gather(held, long)


async def test_a_long_conversation_does_not_hold_up_a_short_question(batching: Batching[Word], scorer: Lengths) -> None:
    held = await hold(batching, scorer)
    turns = ask(batching, *(f"turn{i}" for i in range(1000)))
    short = ask(batching, "question")
    await until(lambda: batching.waiting == 1001)
    scorer.gate.set()
    await short
    assert not turns.done()
    await asyncio.gather(held, turns)


async def test_fifty_requests_share_batches(batching: Batching[Word], scorer: Lengths) -> None:
    held = await hold(batching, scorer)
    asked = [ask(batching, f"request{i:02}") for i in range(50)]
    await until(lambda: batching.waiting == 50)
    scorer.gate.set()
    assert await asyncio.gather(*asked) == [[{"first": 9, "longest": 9}]] * 50
    assert scorer.sizes == [1, BATCH, 50 - BATCH]
    await held


async def test_a_full_queue_says_no_at_once(batching: Batching[Word], scorer: Lengths) -> None:
    held = await hold(batching, scorer)
    waits = ask(batching, LONG)
    await until(lambda: batching.waiting == 1000)
    with pytest.raises(ClassifierError) as caught:
        await batching.classify([Sample("other " * 501)])
    assert caught.value.reason == "queue_full"
    scorer.gate.set()
    await asyncio.gather(held, waits)


async def test_a_request_larger_than_the_queue_is_let_in_when_nothing_waits(batching: Batching[Word]) -> None:
    assert await batching.classify([Sample("word " * 3000)]) == [{"first": 4, "longest": 4}]


async def test_a_full_queue_still_answers_what_it_remembers(batching: Batching[Word], scorer: Lengths) -> None:
    known = await batching.classify([Sample("known")])
    scorer.begun = 0
    held = await hold(batching, scorer)
    waits = ask(batching, "word " * 2000)
    await until(lambda: batching.waiting == 2000)
    assert await batching.classify([Sample("known")]) == known
    scorer.gate.set()
    await asyncio.gather(held, waits)


async def test_cancelling_frees_the_queue(batching: Batching[Word], scorer: Lengths) -> None:
    held = await hold(batching, scorer)
    gone, stays = ask(batching, LONG, "more words"), ask(batching, "stays")
    await until(lambda: batching.waiting == 1003)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert batching.waiting == 1
    scorer.gate.set()
    await asyncio.gather(held, stays)
    assert scorer.sizes == [1, 1]


async def test_cancelling_what_a_worker_has_begun_leaves_the_others(batching: Batching[Word], scorer: Lengths) -> None:
    held = await hold(batching, scorer)
    held.cancel()
    stays = ask(batching, "stays")
    await until(lambda: batching.waiting == 1)
    scorer.gate.set()
    assert await stays == [{"first": 5, "longest": 5}]
    assert held.cancelled()
    assert batching.waiting == 0


async def test_closing_refuses_who_waits_and_finishes_what_is_begun(batching: Batching[Word], scorer: Lengths) -> None:
    held = await hold(batching, scorer)
    waits = ask(batching, LONG)
    await until(lambda: batching.waiting == 1000)
    closing = asyncio.create_task(batching.close())
    with pytest.raises(ClassifierError) as caught:
        await waits
    assert caught.value.reason == "unavailable"
    assert batching.waiting == 0
    scorer.gate.set()
    assert await held == [{"first": 4, "longest": 4}]
    await closing


async def test_closing_while_a_thread_cuts_does_not_leave_the_request_waiting(
    batching: Batching[Word], scorer: Lengths
) -> None:
    scorer.slow_cut = 0.1
    scorer.cutting.clear()
    asked = ask(batching, "a" * (SHORT + 1))
    await until(scorer.cutting.is_set)
    await batching.close()
    with pytest.raises(ClassifierError, match="closed"):
        async with asyncio.timeout(5):
            await asked


async def test_it_can_be_started_again(batching: Batching[Word]) -> None:
    await batching.close()
    with pytest.raises(ClassifierError) as caught:
        await batching.classify([Sample("a")])
    assert caught.value.reason == "unavailable"
    await batching.start()
    assert await batching.classify([Sample("a")]) == [{"first": 1, "longest": 1}]


@pytest.mark.parametrize(("text", "cause"), [("broken", RuntimeError), ("nan", FloatingPointError)])
async def test_a_network_that_fails_is_an_error_and_works_again(
    batching: Batching[Word], text: str, cause: type[Exception]
) -> None:
    with pytest.raises(ClassifierError) as caught:
        await batching.classify([Sample(f"{text} " + "word " * 100)])
    assert caught.value.reason == "unavailable"
    assert isinstance(caught.value.__cause__, cause)
    assert batching.waiting == 0
    assert await batching.classify([Sample("fine")]) == [{"first": 4, "longest": 4}]


async def test_a_warm_up_that_fails_leaves_it_closed(scorer: Lengths) -> None:
    class Broken(Lengths):
        def rows(self, windows: Sequence[Word]) -> Row:
            raise RuntimeError("no memory")

    batching = Batching(Broken())
    with pytest.raises(ClassifierError, match="RuntimeError"):
        await batching.start()
    with pytest.raises(ClassifierError, match="not started"):
        await batching.classify([Sample("a")])


async def test_two_workers_share_one_request() -> None:
    class Meeting(Lengths):
        """Goes on when two threads are in the network at once."""

        def __init__(self) -> None:
            super().__init__()
            self.barrier = threading.Barrier(2, timeout=5)

        def rows(self, windows: Sequence[Word]) -> Row:
            if len(windows) == 10:
                self.barrier.wait()
            return super().rows(windows)

    batching = Batching(Meeting(), Limits(workers=2))
    await batching.start()
    assert await batching.classify([Sample("word " * 20)]) == [{"first": 4, "longest": 4}]
    await batching.close()


async def test_remembered_samples_do_not_reach_the_network_and_the_oldest_are_forgotten(scorer: Lengths) -> None:
    batching = Batching(scorer, Limits(remembered=2))
    await batching.start()
    scorer.sizes.clear()
    for text in ("a", "b", "a", "c", "a", "b"):  # b leaves when c comes: a was used since
        await batching.classify([Sample(text)])
    assert scorer.sizes == [1, 1, 1, 1]
    await batching.close()


def test_digests_tell_apart_what_differs() -> None:
    samples = [
        Sample("a"),
        Sample("a", "response"),
        Sample("a", "response", "b"),
        Sample("ab", "response"),
        Sample("", "response", "ab"),
        Sample("\ud800"),
    ]
    assert len({digest(s) for s in samples}) == len(samples)


def test_windows_of_like_length_run_together() -> None:
    assert list(alike([100, 3, 5, 90, 500])) == [[1, 2], [3, 0], [4]]
