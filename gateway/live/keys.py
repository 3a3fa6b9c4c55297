"""API keys that operators make and revoke while gateways run. Of a key only its hash is kept."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.live.flags import text

LOG = logging.getLogger(__name__)
Role = Literal["app", "reviewer", "senior", "operator", "auditor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
POLL = 0.5
"""Seconds between looks at the version: as long as a revoked key may go on."""
SHOWN = 6
"""Characters of a key's secret that are kept, so that its owner finds it in the list: 36 of 256 bits."""
ID = 12
"""Hex digits of the hash."""
INDEXED = 16
"""Hex digits of a hash by which a key is found, before it is compared whole."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key. `hash`: SHA-256, in hex."""

    hash: str
    tenant: str
    role: Role
    begins: str
    """How the key begins: `wg-app-Zk3x0Q`."""
    created: float
    """Unix time."""
    revoked: float | None = None

    @property
    def id(self) -> str:
        return self.hash[:ID]

    def named_by(self, name: str) -> bool:
        """Whether somebody means this key: by id, by the beginning of either, or by the key itself."""
        return name == self.begins or self.hash == digest(name) or (len(name) >= 4 and self.id.startswith(name))


Keys = list[Key]  # inside KeyStore, `list` is its method


class UnknownName(Exception):
    """No key is meant, or more than one."""

    def __init__(self, name: str, meant: Keys) -> None:
        super().__init__(name)
        self.meant = meant


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def make(tenant: str, role: Role, now: float) -> tuple[str, Key]:
    """A new key, to be shown once, and what is kept of it."""
    stem = f"wg-{role}-"
    key = f"{stem}{secrets.token_urlsafe(32)}"
    return key, Key(digest(key), tenant, role, key[: len(stem) + SHOWN], now)


class KeyStore:
    """Owns `<prefix>`, a hash of SHA-256 -> key, and `<prefix>:version`, a token that changes with every change."""

    def __init__(self, redis: Redis, prefix: str = "{wardgate}:keys") -> None:
        self._redis = redis
        self._prefix = prefix
        self._version = f"{prefix}:version"

    async def add(self, key: Key) -> None:
        """Keep a key; every gateway of this Redis takes it within a second."""
        await self._put(key)

    async def list(self) -> Keys:
        """Oldest first, the revoked ones too."""
        return (await self.load())[1]

    async def revoke(self, name: str) -> Key:
        """By id, by the beginning of one, or by the key; UnknownName unless exactly one live key is meant."""
        meant = [key for key in await self.list() if key.revoked is None and key.named_by(name)]
        if len(meant) != 1:
            raise UnknownName(name, meant)
        revoked = replace(meant[0], revoked=time.time())
        await self._put(revoked)
        return revoked

    async def version(self) -> str | None:
        """None: there has never been a key."""
        found = await self._redis.get(self._version)
        return None if found is None else text(found)

    async def load(self) -> tuple[str | None, Keys]:
        """The version, and the keys as of it."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.get(self._version)
        pipe.hgetall(self._prefix)
        version, rows = await pipe.execute()
        keys = [key for name, row in rows.items() if (key := read(text(name), row)) is not None]
        keys.sort(key=lambda k: (k.created, k.hash))
        return None if version is None else text(version), keys

    async def _put(self, key: Key) -> None:
        row = {"tenant": key.tenant, "role": key.role, "begins": key.begins, "created": key.created}
        pipe = self._redis.pipeline(transaction=True)
        pipe.hset(self._prefix, key.hash, orjson.dumps({**row, "revoked": key.revoked}))
        pipe.set(self._version, secrets.token_hex(8))
        await pipe.execute()


class KeyRing:
    """The live keys as last seen; looking one up asks no Redis. While Redis is away, the last known go on."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._version: str | None = None
        self._keys: Mapping[str, Key] = {}
        self._healthy = True

    def find(self, hash: str) -> Key | None:
        """The key of this SHA-256, be it revoked."""
        return same(self._keys.get(hash[:INDEXED]), hash)

    async def refresh(self) -> None:
        """Take over what has changed."""
        try:
            if await self._store.version() == self._version:
                return
            version, keys = await self._store.load()
        except (RedisError, OSError) as error:
            if self._healthy:
                LOG.warning("Redis is away, the keys that are known go on: %s", type(error).__name__)
            self._healthy = False
            return
        self._healthy = True
        self._version = version
        self._keys = {key.hash[:INDEXED]: key for key in keys}
        LOG.info("%d live keys", sum(key.revoked is None for key in keys))

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            await self.refresh()


def same(key: Key | None, hash: str) -> Key | None:
    """How long it takes says nothing of how much agrees: an index of 64 bits finds, this compares."""
    return key if key is not None and hmac.compare_digest(key.hash, hash) else None


def read(hash: str, row: bytes | str) -> Key | None:
    """None: it is no key, and must not keep the others from being read."""
    try:
        data = orjson.loads(row)
        return Key(hash, data["tenant"], data["role"], data["begins"], float(data["created"]), data["revoked"])
    except (ValueError, KeyError, TypeError):
        LOG.error("Redis holds a key that cannot be read: %s", hash[:ID])
        return None
