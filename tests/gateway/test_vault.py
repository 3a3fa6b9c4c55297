"""Texts at rest are sealed, and gone once the key of their tenant is."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from gateway.vault import BadMasterKey, Destroyed, PlainVault, SealingVault, masters, vault_of

FIRST, SECOND = base64.b64encode(b"a" * 32).decode(), base64.b64encode(b"b" * 32).decode()
TEXT = b'{"said": "a secret of ada"}'


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def test_what_is_sealed_shows_nothing_and_comes_back(redis: Redis) -> None:
    vault = SealingVault(redis, masters(f"k1:{FIRST}"))
    sealed = await vault.seal("acme", TEXT)
    assert b"secret" not in sealed
    assert await vault.unseal("acme", sealed) == TEXT
    assert await vault.seal("acme", TEXT) != sealed


async def test_another_process_reads_it_and_another_tenant_does_not(redis: Redis) -> None:
    sealed = await SealingVault(redis, masters(f"k1:{FIRST}")).seal("acme", TEXT)
    other = SealingVault(redis, masters(f"k1:{FIRST}"))
    assert await other.unseal("acme", sealed) == TEXT
    await other.seal("umbrella", TEXT)
    with pytest.raises(Destroyed):
        await other.unseal("umbrella", sealed)


async def test_a_new_master_key_goes_on_with_what_the_old_one_sealed(redis: Redis) -> None:
    sealed = await SealingVault(redis, masters(f"k1:{FIRST}")).seal("acme", TEXT)
    rotated = SealingVault(redis, masters(f"k2:{SECOND},k1:{FIRST}"))
    assert await rotated.unseal("acme", sealed) == TEXT
    assert await rotated.unseal("umbrella", await rotated.seal("umbrella", TEXT)) == TEXT
    with pytest.raises(Destroyed):
        await SealingVault(redis, masters(f"k2:{SECOND}")).unseal("acme", sealed)
    with pytest.raises(Destroyed):
        await SealingVault(redis, masters(f"k1:{SECOND}")).unseal("acme", sealed)


async def test_a_destroyed_key_takes_its_texts_with_it(redis: Redis) -> None:
    clock = Clock()
    here, there = (SealingVault(redis, masters(f"k1:{FIRST}"), clock=clock) for _ in range(2))
    sealed = await here.seal("acme", TEXT)
    assert await there.unseal("acme", sealed) == TEXT
    assert await here.destroy("acme")
    with pytest.raises(Destroyed):
        await here.unseal("acme", sealed)
    clock.now += 61
    with pytest.raises(Destroyed):
        await there.unseal("acme", sealed)
    anew = await here.seal("acme", TEXT)
    assert await here.unseal("acme", anew) == TEXT
    with pytest.raises(Destroyed):
        await here.unseal("acme", sealed)


async def test_whatever_was_changed_is_not_read(redis: Redis) -> None:
    vault = SealingVault(redis, masters(f"k1:{FIRST}"))
    sealed = bytearray(await vault.seal("acme", TEXT))
    sealed[-1] ^= 1
    with pytest.raises(Destroyed):
        await vault.unseal("acme", bytes(sealed))


async def test_texts_from_before_there_were_keys_are_read(redis: Redis) -> None:
    assert await SealingVault(redis, masters(f"k1:{FIRST}")).unseal("acme", TEXT) == TEXT


async def test_without_keys_nothing_is_sealed(redis: Redis) -> None:
    vault = vault_of(redis, None)
    assert isinstance(vault, PlainVault)
    assert await vault.unseal("acme", await vault.seal("acme", TEXT)) == TEXT
    assert not await vault.destroy("acme")
    with pytest.raises(Destroyed):
        await vault.unseal("acme", await SealingVault(redis, masters(f"k1:{FIRST}")).seal("acme", TEXT))


@pytest.mark.parametrize("keys", ["k1", "k1:short", f":{FIRST}", f"k 1:{FIRST}", f"k1:{FIRST},"])
def test_keys_that_are_none_are_told(keys: str) -> None:
    with pytest.raises(BadMasterKey, match="openssl rand"):
        masters(keys)
