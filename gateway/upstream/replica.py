"""One replica of an upstream: its address, its load, its health."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.upstream.breaker import Breaker
from gateway.upstream.pool import Pool, authority, target
from gateway.upstream.protocol import ReplicaState


class Replica:
    """Counts the requests in flight; `take()` is answered by exactly one `leave()`."""

    def __init__(self, base_url: str, breaker: Breaker) -> None:
        self.base_url = base_url.rstrip("/")
        self.breaker = breaker
        self.outstanding = 0
        self._url = urlsplit(self.base_url)
        self.pool = Pool(self._url)
        self._lines: dict[tuple[str, str], bytes] = {}

    def lines(self, method: str, path: str) -> bytes:
        """Request line and `host`, made once for each path; the gateway's paths are few and fixed."""
        known = self._lines.get((method, path))
        if known is None:
            host = authority(self._url).encode("idna" if not self._url.netloc.isascii() else "ascii")
            known = b"%s %s HTTP/1.1\r\nhost: %s\r\n" % (method.encode(), target(self._url, path), host)
            if "?" not in path:  # queries are many
                self._lines[method, path] = known
        return known

    def take(self) -> None:
        self.outstanding += 1
        self.breaker.begin()

    def leave(self) -> None:
        self.outstanding -= 1

    def state(self) -> ReplicaState:
        return ReplicaState(self.base_url, self.breaker.state, self.outstanding)


class Replicas:
    """The replicas of one upstream, and whose turn it is."""

    def __init__(self, replicas: list[Replica]) -> None:
        self._replicas = replicas
        self._turn = 0

    def close(self) -> None:
        """Drop every connection."""
        for replica in self._replicas:
            replica.pool.close()

    def __len__(self) -> int:
        return len(self._replicas)

    def choose(self, tried: list[Replica]) -> Replica | None:
        """The least busy one with a closed breaker (or due for a probe) that was not tried; ties take turns."""
        replicas, best = self._replicas, None
        self._turn += 1
        for offset in range(len(replicas)):
            replica = replicas[(self._turn + offset) % len(replicas)]
            if best is not None and replica.outstanding >= best.outstanding:
                continue
            if replica.breaker.ready() and replica not in tried:
                best = replica
        return best

    def remaining(self) -> float:
        """Seconds until some replica may be asked again."""
        return min(replica.breaker.remaining() for replica in self._replicas)

    def states(self) -> list[ReplicaState]:
        return [replica.state() for replica in self._replicas]
