from __future__ import annotations

from gateway.upstream.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock, threshold=3, cooldown=10.0)
    for _ in range(3):
        breaker.begin()
        breaker.fail()
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = opened(Clock())
    assert breaker.state == "open"
    assert not breaker.ready()
    assert breaker.remaining() == 10.0


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(Clock(), threshold=2)
    for _ in range(5):
        breaker.fail()
        breaker.succeed()
    assert breaker.state == "closed"
    assert breaker.ready()


def test_after_the_cooldown_exactly_one_probe_may_go() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10.0
    assert breaker.state == "half_open"
    assert breaker.ready()
    breaker.begin()
    assert breaker.state == "half_open"
    assert not breaker.ready()


def test_a_probe_that_succeeds_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10.0
    breaker.begin()
    breaker.succeed()
    assert breaker.state == "closed"


def test_a_probe_that_fails_opens_it_for_another_cooldown() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10.0
    breaker.begin()
    clock.now += 1.0
    breaker.fail()
    assert breaker.state == "open"
    assert breaker.remaining() == 10.0


def test_an_abandoned_probe_makes_room_for_the_next_at_once() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10.0
    breaker.begin()
    breaker.abandon()
    assert breaker.ready()


def test_a_probe_without_result_does_not_block_for_ever() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 10.0
    breaker.begin()
    clock.now += 10.0
    assert breaker.ready()


def test_late_failures_of_older_requests_do_not_prolong_the_cooldown() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 9.0
    breaker.fail()
    assert breaker.remaining() == 1.0
