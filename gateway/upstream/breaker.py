"""A circuit breaker: a replica that failed again and again is left alone for a while, then tried once."""

from __future__ import annotations

from collections.abc import Callable

from gateway.upstream.protocol import BreakerState


class Breaker:
    """Opens after `threshold` consecutive failures; after `cooldown` seconds one probe decides.

    A probe that gives no result within another cool-down no longer keeps the next one waiting: a model may think for
    minutes before its first byte, and a probe's caller may have left.
    """

    def __init__(self, clock: Callable[[], float], threshold: int = 5, cooldown: float = 10.0) -> None:
        self._clock = clock
        self._threshold = threshold
        self._cooldown = cooldown
        self._failures = 0
        self._since: float | None = None
        """When it opened or sent out its last probe; None while closed."""
        self._probing = False

    @property
    def state(self) -> BreakerState:
        if self._since is None:
            return "closed"
        return "half_open" if self._probing or self.remaining() <= 0 else "open"

    def ready(self) -> bool:
        """May a request go to the replica now?"""
        return self._since is None or self.remaining() <= 0

    def remaining(self) -> float:
        """Seconds until the next request may go."""
        return 0.0 if self._since is None else self._since + self._cooldown - self._clock()

    def begin(self) -> None:
        """A request goes out; while the breaker is not closed it is the probe."""
        if self._since is not None:
            self._probing = True
            self._since = self._clock()

    def succeed(self) -> None:
        self._failures = 0
        self._since = None
        self._probing = False

    def fail(self) -> None:
        self._failures += 1
        if self._since is None:
            if self._failures >= self._threshold:
                self._since = self._clock()
        elif self._probing:
            # Failures of requests that left before it opened must not prolong the cool-down: only the probe's does.
            self._probing = False
            self._since = self._clock()

    def abandon(self) -> None:
        """The request ended without telling anything about the replica; another one may probe."""
        if self._probing:
            self._probing = False
            self._since = self._clock() - self._cooldown
