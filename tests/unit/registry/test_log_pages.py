"""Many readers, one read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from kernel.errors import EventflowsError, Unavailable
from registry.adapters.memory_event_store import MemoryEventStore
from registry.application import log_pages
from registry.application.log_pages import LogPages
from registry.ports.event_store import BATCH_BYTES_MAX, SelectedPage, Selection, StoredEvent

from tests.support.registry import append_of

TIMEOUT_S = 10.0


class SlowStore(MemoryEventStore):
    """Answers a read when told; counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked = asyncio.Event()
        self.reads: list[int] = []
        self.selected: list[int] = []
        self.failure: EventflowsError | None = None

    async def read(
        self,
        after: int,
        *,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
        as_stored: bool = False,
    ) -> Sequence[StoredEvent]:
        self.reads.append(after)
        self.asked.set()
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return await super().read(after, limit=limit, bytes_max=bytes_max)

    async def read_selected(
        self,
        after: int,
        *,
        to: int,
        selection: Selection,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
    ) -> SelectedPage:
        self.selected.append(after)
        return await super().read_selected(
            after, to=to, selection=selection, limit=limit, bytes_max=bytes_max
        )


@pytest.fixture
async def store() -> SlowStore:
    store = SlowStore()
    for number in range(10):
        await store.append([append_of(1, data=bytes([65 + number]))])
    return store


def _pages(store: SlowStore) -> LogPages:
    return LogPages(store, encode=lambda events: b"".join(event.data for event in events))


async def test_who_asks_at_the_same_moment_shares_one_read(store: SlowStore) -> None:
    store.may_answer.clear()
    pages = _pages(store)
    asking = [asyncio.create_task(pages.after(0)) for _ in range(50)]
    async with asyncio.timeout(TIMEOUT_S):
        await store.asked.wait()
        store.may_answer.set()
        stretches = await asyncio.gather(*asking)
    assert store.reads == [0]
    assert {stretch.encoded for stretch in stretches} == {b"ABCDEFGHIJ"}


async def test_who_leaves_takes_nothing_from_the_others(store: SlowStore) -> None:
    store.may_answer.clear()
    pages = _pages(store)
    first, second = (asyncio.create_task(pages.after(0)) for _ in range(2))
    async with asyncio.timeout(TIMEOUT_S):
        await store.asked.wait()
        first.cancel()
        store.may_answer.set()
        assert (await second).to_position == 10
    assert store.reads == [0]


async def test_a_failed_read_is_told_to_all_and_tried_again_by_the_next(store: SlowStore) -> None:
    pages = _pages(store)
    store.failure = Unavailable("away")
    failed = await asyncio.gather(pages.after(0), pages.after(0), return_exceptions=True)
    assert [type(one) for one in failed] == [Unavailable, Unavailable]
    store.failure = None
    assert (await pages.after(0)).to_position == 10
    assert store.reads == [0, 0]


async def test_kept_stretches_are_joined_up_to_a_page(
    store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pages, "PAGE_EVENTS_MAX", 3)
    pages = _pages(store)
    assert [(await pages.after(position)).encoded for position in (0, 3, 4)] == [
        b"ABC", b"DEF", b"EFG",
    ]  # fmt: skip
    monkeypatch.setattr(log_pages, "PAGE_EVENTS_MAX", 6)
    joined = await pages.after(0)
    assert (joined.from_position, joined.to_position, joined.encoded) == (0, 6, b"ABCDEF")
    assert [event.position for event in joined.events] == [1, 2, 3, 4, 5, 6]
    monkeypatch.setattr(log_pages, "PAGE_BYTES_MAX", 5)
    assert (await pages.after(0)).encoded == b"ABC"
    assert store.reads == [0, 3, 4]


async def test_what_is_kept_is_bounded_and_the_oldest_goes(
    store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pages, "PAGE_EVENTS_MAX", 1)
    monkeypatch.setattr(log_pages, "KEPT_BYTES_MAX", 3)
    pages = _pages(store)
    for position in (0, 1, 2, 3):
        await pages.after(position)
    await pages.after(1)
    assert store.reads == [0, 1, 2, 3], "1 was kept"
    await pages.after(0)
    assert store.reads == [0, 1, 2, 3, 0], "0 was not"
    monkeypatch.setattr(log_pages, "KEPT_STRETCHES_MAX", 1)
    await pages.after(5)
    await pages.after(3)
    assert store.reads[-2:] == [5, 3]


async def test_close_to_the_end_a_selection_shares_the_page_of_all(
    store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (wanted,) = {event.stream_id for event in await store.read(3, limit=1)}
    store.reads.clear()
    selection = Selection(stream_ids=frozenset({wanted}))
    pages = _pages(store)
    await pages.after(0)
    near = await pages.selected(0, to=10, selection=selection)
    assert (near.to_position, near.encoded) == (10, b"D")
    assert (store.reads, store.selected) == ([0], [])
    monkeypatch.setattr(log_pages, "PAGE_EVENTS_MAX", 9)
    far = await pages.selected(0, to=10, selection=selection)
    assert (far.to_position, far.encoded) == (10, b"D")
    assert store.selected == [0]


async def test_a_log_that_became_shorter_is_not_taken_for_a_hole(store: SlowStore) -> None:
    with pytest.raises(Unavailable, match="shorter"):
        await _pages(store).after(10)
