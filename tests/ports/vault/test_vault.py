"""What every vault promises (`registry.ports.Vault`)."""

from __future__ import annotations

from uuid import uuid4

import pytest
from kernel.errors import InvalidInput, NotFound, VersionConflict
from registry.ports.vault import Vault, VaultEntry

FIELD = "credentials"
STREAM = str(uuid4())


async def _put(vault: Vault, *, stream_id: str = STREAM, secret: bytes = b"hunter22") -> str:
    secret_id = str(uuid4())
    await vault.put(secret_id=secret_id, stream_id=stream_id, field=FIELD, secret=secret)
    return secret_id


async def _entries(vault: Vault) -> list[VaultEntry]:
    return list(await vault.older(than_s=-60.0, after="", limit=100))


async def test_a_secret_comes_back_as_it_was(vault: Vault) -> None:
    secret_id = await _put(vault, secret=bytes(range(256)))
    read = await vault.read(secret_id=secret_id, stream_id=STREAM, field=FIELD)
    assert read == bytes(range(256))


@pytest.mark.parametrize("wrong", ["secret_id", "stream_id", "field"])
async def test_a_secret_is_found_in_its_own_place_only(vault: Vault, wrong: str) -> None:
    place = {"secret_id": await _put(vault), "stream_id": STREAM, "field": FIELD}
    place[wrong] = "role" if wrong == "field" else str(uuid4())
    with pytest.raises(NotFound) as caught:
        await vault.read(**place)
    assert "hunter22" not in str(caught.value)


async def test_two_secrets_of_one_stream_share_a_key_and_both_open(vault: Vault) -> None:
    first, second = await _put(vault, secret=b"one"), await _put(vault, secret=b"two")
    assert await vault.read(secret_id=first, stream_id=STREAM, field=FIELD) == b"one"
    assert await vault.read(secret_id=second, stream_id=STREAM, field=FIELD) == b"two"


async def test_an_id_is_used_once(vault: Vault) -> None:
    secret_id = await _put(vault)
    with pytest.raises(InvalidInput):
        await vault.put(secret_id=secret_id, stream_id=STREAM, field=FIELD, secret=b"other")


async def test_a_secret_is_pending_until_it_is_used(vault: Vault) -> None:
    secret_id = await _put(vault)
    assert await _entries(vault) == [VaultEntry(secret_id=secret_id, stream_id=STREAM, used=False)]
    await vault.mark_used(secret_id)
    await vault.mark_used(secret_id)
    assert [entry.used for entry in await _entries(vault)] == [True]
    await vault.mark_used(str(uuid4()))


async def test_only_a_pending_secret_can_be_discarded(vault: Vault) -> None:
    pending, used = await _put(vault), await _put(vault)
    await vault.mark_used(used)
    for _ in range(2):
        await vault.discard(pending)
        await vault.discard(used)
    assert [entry.secret_id for entry in await _entries(vault)] == [used]


async def test_shredding_takes_every_secret_of_the_stream_and_no_other(vault: Vault) -> None:
    other_stream = str(uuid4())
    shredded = [await _put(vault), await _put(vault)]
    kept = await _put(vault, stream_id=other_stream)
    for _ in range(2):
        await vault.shred(STREAM)
    assert [entry.secret_id for entry in await _entries(vault)] == [kept]
    for secret_id in shredded:
        with pytest.raises(NotFound):
            await vault.read(secret_id=secret_id, stream_id=STREAM, field=FIELD)


async def test_old_secrets_are_listed_by_pages(vault: Vault) -> None:
    expected = sorted([await _put(vault) for _ in range(5)])
    first = await vault.older(than_s=-60.0, after="", limit=3)
    rest = await vault.older(than_s=-60.0, after=first[-1].secret_id, limit=3)
    assert [entry.secret_id for entry in (*first, *rest)] == expected
    assert await vault.older(than_s=3600.0, after="", limit=3) == []


async def test_a_fingerprint_tells_equal_secrets_of_one_place_only(vault: Vault) -> None:
    def of(secret: bytes, stream_id: str = STREAM, field: str = FIELD) -> bytes:
        return vault.fingerprint(stream_id=stream_id, field=field, secret=secret)

    assert of(b"hunter22") == of(b"hunter22")
    assert len(of(b"hunter22")) == 8
    others = {of(b"hunter23"), of(b"hunter22", str(uuid4())), of(b"hunter22", field="role")}
    assert of(b"hunter22") not in others


async def _read(vault: Vault, secret_id: str, *, stream_id: str = STREAM) -> bytes:
    return await vault.read(secret_id=secret_id, stream_id=stream_id, field=FIELD)


async def test_a_superseded_secret_is_readable_and_comes_back_to_use(vault: Vault) -> None:
    secret_id = await _put(vault)
    for _ in range(2):
        await vault.supersede(secret_id)
    (entry,) = await _entries(vault)
    assert (entry.used, entry.superseded) == (True, True)
    assert await _read(vault, secret_id) == b"hunter22"
    await vault.mark_used(secret_id)
    (entry,) = await _entries(vault)
    assert (entry.used, entry.superseded) == (True, False)
    await vault.supersede(str(uuid4()))


async def test_only_a_secret_that_was_superseded_long_ago_is_destroyed(vault: Vault) -> None:
    pending, used, superseded = await _put(vault), await _put(vault), await _put(vault)
    await vault.mark_used(used)
    await vault.supersede(superseded)
    assert not await vault.destroy_superseded(superseded, than_s=3600.0)
    for secret_id in (pending, used, str(uuid4())):
        assert not await vault.destroy_superseded(secret_id, than_s=-60.0)
    assert await vault.destroy_superseded(superseded, than_s=-60.0)
    assert not await vault.destroy_superseded(superseded, than_s=-60.0)
    assert {entry.secret_id for entry in await _entries(vault)} == {pending, used}


async def test_the_vault_says_what_it_holds_and_of_which_stream(vault: Vault) -> None:
    secret_id = await _put(vault)
    assert await vault.holds(secret_id=secret_id, stream_id=STREAM)
    assert not await vault.holds(secret_id=secret_id, stream_id=str(uuid4()))
    assert not await vault.holds(secret_id=str(uuid4()), stream_id=STREAM)
    await vault.supersede(secret_id)
    assert await vault.holds(secret_id=secret_id, stream_id=STREAM)
    (entry,) = await _entries(vault)
    assert entry.superseded, "asking does not bring it back to use"
    await vault.shred(STREAM)
    assert not await vault.holds(secret_id=secret_id, stream_id=STREAM)


async def test_a_key_from_before_a_shredding_is_never_used_again(vault: Vault) -> None:
    """Whoever comes first after a crash: the sweep, or the next command."""
    old = await _put(vault)
    new = str(uuid4())
    await vault.put(secret_id=new, stream_id=STREAM, field=FIELD, secret=b"new", shreddings=1)
    assert not await vault.holds(secret_id=old, stream_id=STREAM)
    for _ in range(2):
        await vault.shred(STREAM, shreddings=1)
    assert await _read(vault, new) == b"new", "the key was made after the shredding"
    (entry,) = await _entries(vault)
    assert entry.shreddings == 1
    await vault.shred(STREAM, shreddings=2)
    assert await _entries(vault) == []


async def test_who_missed_a_shredding_may_not_store(vault: Vault) -> None:
    kept = str(uuid4())
    await vault.put(secret_id=kept, stream_id=STREAM, field=FIELD, secret=b"new", shreddings=2)
    with pytest.raises(VersionConflict):
        await _put(vault)
    assert [entry.secret_id for entry in await _entries(vault)] == [kept]


async def test_a_stale_secret_is_stored_again_under_the_next_key(vault: Vault) -> None:
    """The same command decides again after it learnt of a shredding: its secret keeps its id."""
    secret_id = await _put(vault)
    await vault.put(
        secret_id=secret_id, stream_id=STREAM, field=FIELD, secret=b"again", shreddings=1
    )
    assert await _read(vault, secret_id) == b"again"


async def test_a_rotation_leaves_secrets_and_fingerprints_as_they_are(vault: Vault) -> None:
    streams = [str(uuid4()) for _ in range(5)]
    secret_ids = {stream_id: await _put(vault, stream_id=stream_id) for stream_id in streams}
    fingerprint = vault.fingerprint(stream_id=STREAM, field=FIELD, secret=b"hunter22")
    digest = vault.request_digest(b"hunter22")
    assert [await vault.rotate(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    secret_ids[STREAM] = await _put(vault)
    assert await vault.rotate(limit=10) == 0, "new keys are made under the new master key"
    for stream_id, secret_id in secret_ids.items():
        assert await _read(vault, secret_id, stream_id=stream_id) == b"hunter22"
    assert vault.fingerprint(stream_id=STREAM, field=FIELD, secret=b"hunter22") == fingerprint
    assert vault.request_digest(b"hunter22") == digest
