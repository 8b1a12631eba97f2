"""What every keeper of snapshots promises."""

from __future__ import annotations

import asyncio

import pytest
from kernel.errors import InvalidInput, NotFound, StateForbids
from registry.ports.event_store import Seal
from registry.ports.snapshots import PART_BYTES_MAX, Snapshot

from tests.ports.snapshots.conftest import Kept

FOLD, OTHER = "1-aaaa", "2-bbbb"
PARTS = (b"first", b"x" * PART_BYTES_MAX, b"last")


async def put(kept: Kept, seal: Seal, fold: str = FOLD, parts: tuple[bytes, ...] = PARTS) -> bool:
    return await kept.snapshots.put(
        position=seal.last_position, fold=fold, seal_hash=seal.hash, parts=parts
    )


async def newest(kept: Kept, *, fold: str = FOLD, at_most: int | None = None) -> int | None:
    found = await kept.snapshots.newest(fold=fold, at_most=at_most)
    return None if found is None else found.position


async def content(kept: Kept, snapshot: Snapshot) -> tuple[bytes, ...]:
    return tuple([part async for part in kept.snapshots.read(snapshot)])


async def test_what_was_put_is_read_back_in_its_order(kept: Kept) -> None:
    seal = await kept.sealed()
    assert await put(kept, seal)
    found = await kept.snapshots.newest(fold=FOLD)
    assert found == Snapshot(
        position=seal.last_position,
        fold=FOLD,
        hash=seal.hash,
        parts=3,
        size_bytes=sum(map(len, PARTS)),
    )
    assert await content(kept, found) == PARTS


async def test_without_snapshots_there_is_no_newest(kept: Kept) -> None:
    assert await newest(kept) is None
    assert await kept.snapshots.positions(fold=FOLD) == []


async def test_the_newest_up_to_a_position_is_found(kept: Kept) -> None:
    first, second = await kept.sealed(), await kept.sealed()
    await put(kept, first)
    await put(kept, second)
    assert await newest(kept) == second.last_position
    assert await newest(kept, at_most=second.last_position) == second.last_position
    assert await newest(kept, at_most=second.last_position - 1) == first.last_position
    assert await newest(kept, at_most=first.last_position - 1) is None


async def test_a_snapshot_of_another_fold_is_another_snapshot(kept: Kept) -> None:
    seal = await kept.sealed()
    await put(kept, seal)
    assert await newest(kept, fold=OTHER) is None
    assert await put(kept, seal, OTHER, (b"other",))
    found = await kept.snapshots.newest(fold=OTHER)
    assert found is not None
    assert await content(kept, found) == (b"other",)


async def test_the_first_of_a_key_stays(kept: Kept) -> None:
    seal = await kept.sealed()
    assert await put(kept, seal)
    assert not await put(kept, seal, parts=(b"again",))
    found = await kept.snapshots.newest(fold=FOLD)
    assert found is not None
    assert await content(kept, found) == PARTS


async def test_two_that_put_the_same_at_once_leave_one(kept: Kept) -> None:
    seal = await kept.sealed()
    first, second = await asyncio.gather(put(kept, seal), put(kept, seal))
    assert {first, second} == {True, False}
    found = await kept.snapshots.newest(fold=FOLD)
    assert found is not None
    assert await content(kept, found) == PARTS


async def test_a_snapshot_of_another_log_is_refused(kept: Kept) -> None:
    seal = await kept.sealed()
    with pytest.raises(StateForbids, match="take the snapshot from this log"):
        await kept.snapshots.put(
            position=seal.last_position, fold=FOLD, seal_hash=b"0" * 32, parts=PARTS
        )
    assert await newest(kept) is None


async def test_a_snapshot_in_the_middle_of_a_batch_is_refused(kept: Kept) -> None:
    seal = await kept.sealed(2)
    with pytest.raises(StateForbids, match="no seal of this log ends at 1"):
        await kept.snapshots.put(position=1, fold=FOLD, seal_hash=seal.hash, parts=PARTS)


@pytest.mark.parametrize("parts", [(), (b"",), (b"x" * (PART_BYTES_MAX + 1),)])
async def test_parts_that_are_none_or_too_large_are_refused(
    kept: Kept, parts: tuple[bytes, ...]
) -> None:
    with pytest.raises(InvalidInput, match="1 to 262144 bytes"):
        await put(kept, await kept.sealed(), parts=parts)


async def test_the_newest_stay_and_the_others_are_forgotten(kept: Kept) -> None:
    seals = [await kept.sealed() for _ in range(4)]
    for seal in seals:
        await put(kept, seal)
        await put(kept, seal, OTHER)
    oldest = await kept.snapshots.newest(fold=FOLD, at_most=seals[0].last_position)
    assert oldest is not None
    assert await kept.snapshots.keep(fold=FOLD, newest=2) == 2
    assert await kept.snapshots.positions(fold=FOLD) == [one.last_position for one in seals[2:]]
    assert len(await kept.snapshots.positions(fold=OTHER)) == 4
    with pytest.raises(NotFound, match="ask for the newest again"):
        await content(kept, oldest)
