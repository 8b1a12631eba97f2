"""When snapshots are taken, and how a start uses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from catalog import snapshot
from catalog.errors import PositionGap
from kernel.errors import StateForbids, Unavailable
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.memory_snapshots import MemorySnapshots
from registry.application import snapshotter as snapshotter_module
from registry.application.snapshotter import KEPT, Snapshotter
from registry.ports.event_store import StoredEvent

from tests.unit.registry.past import EVENTS, Past, filled, folded, told

WAIT_S = 5.0


class CountingStore(MemoryEventStore):
    """Remembers after which positions it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_after: list[int] = []

    async def read(self, after: int, **bounds: Any) -> Sequence[StoredEvent]:
        self.read_after.append(after)
        return await super().read(after, **bounds)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
async def past(store: CountingStore) -> Past:
    """A believable cluster, followed to its end."""
    past = Past.over(await filled(store))
    await past.projection.begin()
    return past


@asynccontextmanager
async def running(snapshotter: Snapshotter) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(snapshotter.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


def announced(past: Past, monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[Sequence[int]]:
    """Gets the kept positions whenever one was taken: its last step is to forget old ones."""
    told_of: asyncio.Queue[Sequence[int]] = asyncio.Queue()
    keep = past.snapshots.keep

    async def telling(*, fold: str, newest: int) -> int:
        gone = await keep(fold=fold, newest=newest)
        told_of.put_nowait(await past.snapshots.positions(fold=fold))
        return gone

    monkeypatch.setattr(past.snapshots, "keep", telling)
    return told_of


# ---- taking --------------------------------------------------------------------------------------


async def test_a_snapshot_is_what_the_log_had_told(past: Past) -> None:
    assert await past.snapshotter(every_events=100).take()
    kept = await past.snapshots.newest(fold=snapshot.FOLD)
    assert kept is not None
    assert kept.position == EVENTS
    restored = snapshot.restore([part async for part in past.snapshots.read(kept)])
    assert told(restored) == told(await folded(past.store, EVENTS))


async def test_none_is_taken_in_the_middle_of_a_batch(store: CountingStore) -> None:
    past = Past.over(await filled(store))
    (seal,) = await store.seals(300, limit=1)
    assert seal.first_position < seal.last_position
    middle = await folded(store, seal.last_position - 1)
    past.projection.catalog.begin_with(middle.image())
    assert not await past.snapshotter(every_events=100).take()
    assert await past.snapshots.positions(fold=snapshot.FOLD) == []


async def test_one_is_taken_each_time_that_the_log_has_grown_enough(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = announced(past, monkeypatch)
    async with running(past.snapshotter(every_events=50)), asyncio.timeout(WAIT_S):
        past.head.advance(EVENTS)
        assert await taken.get() == [EVENTS]
        await past.grow(49)
        last = await past.grow(11)
        assert await taken.get() == [EVENTS, last]
        newest = await past.grow(60)
        assert await taken.get() == [last, newest]  # KEPT of them
    assert KEPT == 2


async def test_a_snapshot_of_another_process_counts(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await past.snapshotter(every_events=50).take()
    taken = announced(past, monkeypatch)
    async with running(past.snapshotter(every_events=50)), asyncio.timeout(WAIT_S):
        past.head.advance(EVENTS)
        newest = await past.grow(60)
        assert await taken.get() == [EVENTS, newest]


async def test_taking_what_is_there_already_is_harmless(past: Past) -> None:
    snapshotter = past.snapshotter(every_events=50)
    assert await snapshotter.take()
    assert await snapshotter.take()
    assert await past.snapshots.positions(fold=snapshot.FOLD) == [EVENTS]


async def test_a_changed_fold_takes_its_own_at_once(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await past.snapshotter(every_events=50).take()
    before = snapshot.FOLD
    monkeypatch.setattr(snapshot, "FOLD", "9-" + "0" * 16)
    taken = announced(past, monkeypatch)
    async with running(past.snapshotter(every_events=50)), asyncio.timeout(WAIT_S):
        past.head.advance(EVENTS)
        assert await taken.get() == [EVENTS]
    assert await past.snapshots.positions(fold=before) == [EVENTS]


@pytest.mark.parametrize("error", [Unavailable("away"), StateForbids("another log")])
async def test_what_fails_is_tried_again(
    past: Past, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(snapshotter_module, "FAILED_RETRY_S", 0.0)
    put, failures = past.snapshots.put, [error, error]

    async def failing(**given: Any) -> bool:
        if failures:
            raise failures.pop()
        return await put(**given)

    monkeypatch.setattr(past.snapshots, "put", failing)
    taken = announced(past, monkeypatch)
    async with running(past.snapshotter(every_events=50)), asyncio.timeout(WAIT_S):
        past.head.advance(EVENTS)
        assert await taken.get() == [EVENTS]
    assert failures == []


async def test_it_ends_with_the_head(past: Past) -> None:
    async with running(past.snapshotter(every_events=50_000)) as task:
        await asyncio.sleep(0)
        past.head.close()
        async with asyncio.timeout(WAIT_S):
            await task


# ---- the last one --------------------------------------------------------------------------------


async def test_a_clean_stop_leaves_a_snapshot_when_enough_has_happened(past: Past) -> None:
    await past.snapshotter(every_events=EVENTS).at_stop()
    assert await past.snapshots.positions(fold=snapshot.FOLD) == [EVENTS]


async def test_a_clean_stop_after_little_leaves_none(past: Past) -> None:
    await past.snapshotter(every_events=50_000).at_stop()
    assert await past.snapshots.positions(fold=snapshot.FOLD) == []


async def test_a_stop_is_not_held_up_by_a_database_that_is_away(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(**_: object) -> bool:
        raise Unavailable("away")

    async def silent(**_: object) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(snapshotter_module, "STOP_TIMEOUT_S", 0.02)
    for put in (away, silent):
        monkeypatch.setattr(past.snapshots, "put", put)
        async with asyncio.timeout(WAIT_S):
            await past.snapshotter(every_events=50).at_stop()


# ---- starting ------------------------------------------------------------------------------------


async def started(store: CountingStore, snapshots: MemorySnapshots) -> Past:
    """Another process on the same log."""
    past = Past.over(store)
    past.projection._snapshots = snapshots
    store.read_after.clear()
    await past.projection.begin()
    return past


async def test_a_start_reads_the_newest_snapshot_and_the_events_after_it(
    past: Past, store: CountingStore
) -> None:
    assert await past.snapshotter(every_events=50).take()
    await past.grow(30)
    again = await started(store, past.snapshots)
    assert store.read_after == [EVENTS]
    assert told(again.projection.catalog) == told(past.projection.catalog)


async def test_a_start_with_a_snapshot_of_another_fold_reads_the_whole_log(
    past: Past, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await past.snapshotter(every_events=50).take()
    monkeypatch.setattr(snapshot, "FOLD", "9-" + "0" * 16)
    again = await started(store, past.snapshots)
    assert store.read_after == [0]
    assert told(again.projection.catalog) == told(past.projection.catalog)


async def test_a_start_with_a_damaged_snapshot_takes_the_one_before_it(
    past: Past, store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert await past.snapshotter(every_events=50).take()
    newest = await past.grow(30)
    (seal,) = await store.seals(newest - 1, limit=1)
    whole = b"".join(snapshot.dump(past.projection.catalog))
    await past.snapshots.put(
        position=newest, fold=snapshot.FOLD, seal_hash=seal.hash, parts=[whole[:-1]]
    )
    again = await started(store, past.snapshots)
    assert store.read_after == [EVENTS]
    assert told(again.projection.catalog) == told(past.projection.catalog)
    assert "a snapshot is no use" in caplog.text


async def test_a_snapshot_under_a_wrong_position_is_not_used(
    past: Past, store: CountingStore
) -> None:
    (seal,) = await store.seals(300, limit=1)
    parts = list(snapshot.dump(past.projection.catalog))
    await past.snapshots.put(
        position=seal.last_position, fold=snapshot.FOLD, seal_hash=seal.hash, parts=parts
    )
    again = await started(store, past.snapshots)
    assert store.read_after == [0]
    assert again.projection.catalog.position == EVENTS


async def test_a_projection_begins_once(past: Past) -> None:
    assert await past.snapshotter(every_events=50).take()
    with pytest.raises(PositionGap):
        await past.projection.begin()
