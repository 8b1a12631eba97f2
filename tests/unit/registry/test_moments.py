"""What a moment is, and the catalog as of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from catalog import snapshot
from kernel.errors import EventflowsError, InvalidInput, Overloaded, Unavailable
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.memory_timeline import MemoryTimeline
from registry.application.moments import BUILT_AT_ONCE_MAX, WAITING_MAX, Moment
from registry.ports.event_store import Archived, StoredEvent

from tests.unit.registry.past import EVENTS, Past, filled, folded, told

WAIT_S = 5.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class GatedStore(MemoryEventStore):
    """Reads only while the gate is open; `entered` has an item for each read that began."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered: asyncio.Queue[int] = asyncio.Queue()
        self.archived = 0

    async def read(self, after: int, **bounds: Any) -> Sequence[StoredEvent]:
        self.entered.put_nowait(after)
        await self.gate.wait()
        if after < self.archived:
            raise Archived(self.archived)
        return await super().read(after, **bounds)

    async def reads(self, count: int) -> None:
        """Return when so many more reads have begun."""
        async with asyncio.timeout(WAIT_S):
            for _ in range(count):
                await self.entered.get()

    def shut(self) -> None:
        """Close the gate; the reads so far do not count any more."""
        self.gate.clear()
        while not self.entered.empty():
            self.entered.get_nowait()


class ArchivedTimeline(MemoryTimeline):
    """Over a store whose first events are gone."""

    def __init__(self, store: GatedStore) -> None:
        super().__init__(store)
        self._gated = store

    async def first_position(self) -> int:
        return self._gated.archived + 1


@pytest.fixture
def store() -> GatedStore:
    """Empty, with an open gate."""
    return GatedStore()


@pytest.fixture
async def past(store: GatedStore) -> AsyncIterator[Past]:
    """A believable cluster, followed to its end."""
    past = Past.over(await filled(store))
    await past.projection.begin()
    yield past
    await past.moments.close()


# ---- what the words mean -------------------------------------------------------------------------


async def test_now_is_the_head(past: Past) -> None:
    head = await past.store.head()
    assert await past.moments.resolve(None) == Moment(position=EVENTS, time=head.time)


async def test_a_position_has_the_time_of_its_seal(past: Past) -> None:
    (seal,) = await past.store.seals(300, limit=1)
    for position in (seal.first_position, seal.last_position):
        moment = await past.moments.resolve(position)
        assert moment == Moment(position=position, time=seal.time)


async def test_position_0_is_before_everything(past: Past) -> None:
    assert await past.moments.resolve(0) == Moment(position=0, time=EPOCH)


async def test_a_time_is_the_last_seal_up_to_it(past: Past) -> None:
    before, after = await past.store.seals(300, limit=2)
    just_before = after.time - timedelta(microseconds=1)
    expected = Moment(position=before.last_position, time=before.time)
    assert await past.moments.resolve(just_before) == expected
    assert await past.moments.resolve(before.time) == expected


@pytest.mark.parametrize(
    ("as_of", "told_what"),
    [
        (-1, "a position is 0 or more"),
        (EVENTS + 1, f"the log ends at {EVENTS}: name a position up to that"),
        (2**63 - 1, f"the log ends at {EVENTS}: name a position up to that"),
        (datetime(2020, 1, 1, tzinfo=UTC), "is before the log begins, at 20.*: name a later time"),
        (datetime(9999, 1, 1, tzinfo=UTC), "is not past yet.*leave the time out to read"),
        (datetime(2026, 1, 1), "has no zone: add Z or an offset"),  # noqa: DTZ001
    ],
)
async def test_a_moment_that_the_log_does_not_have_is_refused_with_advice(
    past: Past, as_of: int | datetime, told_what: str
) -> None:
    with pytest.raises(InvalidInput, match=told_what):
        await past.moments.resolve(as_of)


async def test_an_empty_log_has_a_now_but_no_times() -> None:
    moments = Past.over(MemoryEventStore()).moments
    assert await moments.resolve(None) == Moment(position=0, time=EPOCH)
    assert (await moments.catalog_at(await moments.resolve(0))).position == 0
    with pytest.raises(InvalidInput, match="the log is empty"):
        await moments.resolve(datetime(2020, 1, 1, tzinfo=UTC))


async def test_the_same_time_means_the_same_moment_after_later_appends(past: Past) -> None:
    time = (await past.timeline.seal_at(EPOCH)).clock - timedelta(microseconds=1)
    before = await past.moments.resolve(time)
    await past.grow(1)
    assert await past.moments.resolve(time) == before


# ---- the catalog as of it ------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1, 250, 251, 599, 600])
async def test_the_catalog_of_a_moment_is_what_the_log_had_told_by_then(
    past: Past, position: int
) -> None:
    catalog = await past.moments.catalog_at(await past.moments.resolve(position))
    assert catalog.position == position
    assert told(catalog) == told(await folded(past.store, position))


async def test_it_is_built_from_the_nearest_snapshot_below_it(
    past: Past, store: GatedStore
) -> None:
    for until in (300, 500):
        for seal in await past.store.seals(until, limit=1):
            parts = list(snapshot.dump(await folded(past.store, seal.last_position)))
            await past.snapshots.put(
                position=seal.last_position,
                fold=snapshot.FOLD,
                seal_hash=seal.hash,
                parts=parts,
            )
    first, second = await past.snapshots.positions(fold=snapshot.FOLD)
    expected = told(await folded(store, second - 1))
    store.shut()
    store.gate.set()
    assert told(await past.moments.catalog_at(Moment(position=second - 1, time=EPOCH))) == expected
    assert store.entered.get_nowait() == first  # the rest, in one page
    assert store.entered.empty()
    catalog = await past.moments.catalog_at(Moment(position=first, time=EPOCH))
    assert catalog.position == first
    assert store.entered.empty()


async def test_the_catalog_of_now_stays_as_it_is_while_the_log_goes_on(past: Past) -> None:
    now = await past.moments.resolve(None)
    catalog = await past.moments.catalog_at(now)
    assert catalog is not past.projection.catalog
    before = told(catalog)
    await past.grow(50)
    assert catalog.position == now.position
    assert told(catalog) == before


async def test_the_last_two_are_kept(past: Past) -> None:
    async def at(position: int) -> object:
        return await past.moments.catalog_at(await past.moments.resolve(position))

    first, second = await at(100), await at(200)
    assert await at(100) is first
    third = await at(300)
    assert await at(100) is first
    assert await at(300) is third
    assert await at(200) is not second


async def test_who_asks_for_the_same_moment_at_once_shares_one_build(past: Past) -> None:
    moment = await past.moments.resolve(123)
    found = await asyncio.gather(*[past.moments.catalog_at(moment) for _ in range(5)])
    assert all(catalog is found[0] for catalog in found)


async def test_a_third_build_waits_and_then_is_told_to_come_again(
    past: Past, store: GatedStore
) -> None:
    moments = past.moments
    moments._wait_s = 0.02
    store.shut()
    two = [
        asyncio.create_task(moments.catalog_at(Moment(position=position, time=EPOCH)))
        for position in range(1, BUILT_AT_ONCE_MAX + 1)
    ]
    await store.reads(BUILT_AT_ONCE_MAX)
    with pytest.raises(Overloaded, match="try again") as refused:
        await moments.catalog_at(Moment(position=9, time=EPOCH))
    assert refused.value.retry_after_s > 0
    assert store.entered.empty()
    store.gate.set()
    async with asyncio.timeout(WAIT_S):
        assert [catalog.position for catalog in await asyncio.gather(*two)] == [1, 2]
        assert (await moments.catalog_at(Moment(position=9, time=EPOCH))).position == 9


async def test_who_waits_for_a_place_is_bounded_too(past: Past, store: GatedStore) -> None:
    moments = past.moments
    store.shut()
    waiting = [
        asyncio.create_task(moments.catalog_at(Moment(position=position, time=EPOCH)))
        for position in range(1, WAITING_MAX + 1)
    ]
    await store.reads(BUILT_AT_ONCE_MAX)
    with pytest.raises(Overloaded):
        await moments.catalog_at(Moment(position=100, time=EPOCH))
    store.gate.set()
    async with asyncio.timeout(WAIT_S):
        assert len(await asyncio.gather(*waiting)) == WAITING_MAX


async def test_a_caller_that_goes_away_disturbs_no_other(past: Past, store: GatedStore) -> None:
    moments = past.moments
    store.shut()
    moment = Moment(position=77, time=EPOCH)
    gone, stays = [asyncio.create_task(moments.catalog_at(moment)) for _ in range(2)]
    await store.reads(1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    store.gate.set()
    async with asyncio.timeout(WAIT_S):
        assert (await stays).position == 77


async def test_a_build_that_fails_is_begun_anew_by_the_next_who_asks(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = await past.moments.resolve(50)

    async def away(*_: object, **__: object) -> Sequence[StoredEvent]:
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(past.store, "read", away)
        with pytest.raises(Unavailable):
            await past.moments.catalog_at(moment)
    assert (await past.moments.catalog_at(moment)).position == 50


async def test_a_damaged_snapshot_is_passed_over(past: Past) -> None:
    (seal,) = await past.store.seals(300, limit=1)
    position = seal.last_position
    await past.snapshots.put(
        position=position, fold=snapshot.FOLD, seal_hash=seal.hash, parts=[b"no snapshot at all"]
    )
    catalog = await past.moments.catalog_at(await past.moments.resolve(position))
    assert told(catalog) == told(await folded(past.store, position))


# ---- archived ------------------------------------------------------------------------------------


async def archived(store: GatedStore, up_to: int) -> Past:
    """The believable cluster without its first events, with a snapshot some way above."""
    past = Past.over(await filled(store))
    (seal,) = await store.seals(up_to + 100, limit=1)
    parts = list(snapshot.dump(await folded(store, seal.last_position)))
    await past.snapshots.put(
        position=seal.last_position, fold=snapshot.FOLD, seal_hash=seal.hash, parts=parts
    )
    store.archived = up_to
    past.moments._timeline = ArchivedTimeline(store)
    return past


async def test_a_moment_below_the_archived_position_is_refused(store: GatedStore) -> None:
    past = await archived(store, 200)
    with pytest.raises(Archived, match="the events up to 200 were archived: begin after them"):
        await past.moments.resolve(199)
    assert (await past.moments.resolve(200)).position == 200


async def test_a_moment_between_the_archive_and_the_first_snapshot_has_no_catalog(
    store: GatedStore,
) -> None:
    past = await archived(store, 200)
    with pytest.raises(Archived, match="the events up to 200 were archived"):
        await past.moments.catalog_at(await past.moments.resolve(250))


async def test_a_moment_above_the_first_snapshot_has_one(store: GatedStore) -> None:
    past = await archived(store, 200)
    await past.projection.begin()
    (position,) = await past.snapshots.positions(fold=snapshot.FOLD)
    catalog = await past.moments.catalog_at(await past.moments.resolve(position + 10))
    assert catalog.position == position + 10


async def test_a_hole_in_the_log_is_told_as_one(past: Past) -> None:
    del past.store._events[0]
    with pytest.raises(EventflowsError, match="the log has a hole at position 1: verify it"):
        await past.moments.catalog_at(Moment(position=300, time=EPOCH))
