"""Texts at rest: sealed with a key of their tenant's, which itself is sealed with a key from the environment.

AES-256-GCM (NIST SP 800-38D). Destroying a tenant's key makes all of its texts unreadable, but for whoever has both a
master key and a backup of Redis from before.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis
from redis.exceptions import RedisError

MAGIC = b"\x00wg1"
"""How sealed bytes begin: no JSON does."""
NONCE = 12
KEY = 32
"""Bytes."""
REMEMBERED = 60.0
"""Seconds for which a process goes on with a key that was destroyed elsewhere."""
PATIENCE = 1.0
"""Seconds that a text waits for a Redis that does not answer."""
BACKOFF = 2.0
"""Seconds for which nobody asks it again."""
CREATE = """
redis.call('HDEL', KEYS[1], 'destroyed')
redis.call('HSETNX', KEYS[1], 'key', ARGV[1])
return redis.call('HGET', KEYS[1], 'key')
"""
DESTROY = """
local had = redis.call('HDEL', KEYS[1], 'key')
redis.call('HSET', KEYS[1], 'destroyed', ARGV[1])
return had
"""


class BadMasterKey(Exception):
    """WARDGATE_ENCRYPTION_KEYS cannot be read; the message says how to write it."""


class Destroyed(Exception):
    """The text cannot be read any more: its key is gone, or it was sealed with another."""


class Vault(Protocol):
    """Seals what must not lie about in clear."""

    async def seal(self, tenant: str, data: bytes) -> bytes: ...

    async def unseal(self, tenant: str, data: bytes) -> bytes:
        """Destroyed where its key is gone. What was never sealed comes back as it is."""

    async def destroy(self, tenant: str) -> bool:
        """Whether there was a key."""


@dataclass(frozen=True, slots=True)
class PlainVault:
    """Without keys: texts lie as they are."""

    async def seal(self, tenant: str, data: bytes) -> bytes:
        return data

    async def unseal(self, tenant: str, data: bytes) -> bytes:
        if data.startswith(MAGIC):
            raise Destroyed("sealed with a key that this gateway does not have")
        return data

    async def destroy(self, tenant: str) -> bool:
        return False


class SealingVault:
    """Owns `<prefix>:<tenant>`: a tenant's key, wrapped. `masters`: id -> key, of which the first one wraps."""

    def __init__(
        self,
        redis: Redis,
        masters: Mapping[str, bytes],
        prefix: str = "{wardgate}:vault",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._masters = masters
        self._prefix = prefix
        self._clock = clock
        self._keys: dict[str, tuple[float, bytes]] = {}
        self._create = redis.register_script(CREATE)
        self._destroy = redis.register_script(DESTROY)

    async def seal(self, tenant: str, data: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE)
        key = await self._key(tenant, create=True)
        return MAGIC + nonce + AESGCM(key).encrypt(nonce, data, tenant.encode())

    async def unseal(self, tenant: str, data: bytes) -> bytes:
        if not data.startswith(MAGIC):
            return data
        body = data[len(MAGIC) :]
        key = await self._key(tenant, create=False)
        try:
            return AESGCM(key).decrypt(body[:NONCE], body[NONCE:], tenant.encode())
        except InvalidTag:
            raise Destroyed("the key of this text is gone") from None

    async def destroy(self, tenant: str) -> bool:
        self._keys.pop(tenant, None)
        return bool(await self._destroy(keys=[self._name(tenant)], args=[str(time.time())]))

    async def _key(self, tenant: str, *, create: bool) -> bytes:
        at, key = self._keys.get(tenant, (0.0, b""))
        if key and self._clock() - at < REMEMBERED:
            return key
        try:
            async with asyncio.timeout(PATIENCE):
                found: Any = await self._redis.hget(self._name(tenant), "key")
        except (RedisError, OSError):
            if key:  # what is flagged must be kept while Redis is away, and sealed
                self._keys[tenant] = (self._clock() - REMEMBERED + BACKOFF, key)
                return key
            raise
        if found is None and not create:
            raise Destroyed("the tenant's key was destroyed")
        if found is None:
            wrapped = self._wrap(tenant, secrets.token_bytes(KEY))
            found = await self._create(keys=[self._name(tenant)], args=[wrapped])
        key = self._unwrap(tenant, bytes(found))
        self._keys[tenant] = (self._clock(), key)
        return key

    def _wrap(self, tenant: str, key: bytes) -> bytes:
        id, master = next(iter(self._masters.items()))
        nonce = secrets.token_bytes(NONCE)
        return id.encode() + b":" + nonce + AESGCM(master).encrypt(nonce, key, f"{id} {tenant}".encode())

    def _unwrap(self, tenant: str, wrapped: bytes) -> bytes:
        id, _, body = wrapped.partition(b":")
        master = self._masters.get(id.decode("ascii", "replace"))
        if master is None:
            raise Destroyed("the master key that sealed the tenant's is not in WARDGATE_ENCRYPTION_KEYS")
        try:
            return AESGCM(master).decrypt(body[:NONCE], body[NONCE:], f"{id.decode()} {tenant}".encode())
        except InvalidTag:
            raise Destroyed("WARDGATE_ENCRYPTION_KEYS has another key under this id") from None

    def _name(self, tenant: str) -> str:
        return f"{self._prefix}:{tenant}"


def vault_of(redis: Redis, keys: str | None) -> Vault:
    """`keys` as for `masters`; none: nothing is sealed."""
    return SealingVault(redis, masters(keys)) if keys else PlainVault()


def masters(keys: str) -> dict[str, bytes]:
    """`id:base64` of 32 bytes, comma separated, the newest first; BadMasterKey otherwise."""
    found: dict[str, bytes] = {}
    for part in keys.split(",") if keys else ():
        id, _, encoded = part.strip().partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not id.isalnum() or not id.isascii() or len(key) != KEY:
            raise BadMasterKey(
                "WARDGATE_ENCRYPTION_KEYS must be `id:key` pairs, comma separated: the id of letters and digits, the "
                "key 32 bytes in base64, as `openssl rand -base64 32` makes them"
            )
        found[id] = key
    return found
