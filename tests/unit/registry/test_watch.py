"""Watching over a store that can be slow, away, or shorter than it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest
from kernel.errors import EventflowsError, StateForbids, Unavailable
from prometheus_client import CollectorRegistry
from registry.adapters.memory_event_store import MemoryEventStore
from registry.application import log_pages
from registry.application import watch as module
from registry.application.log_head import LogHead
from registry.application.log_pages import LogPages
from registry.application.metrics import RegistryMetrics
from registry.application.watch import Page, watch
from registry.ports.event_store import BATCH_BYTES_MAX, Selection, StoredEvent

from tests.support.registry import append_of

TIMEOUT_S = 10.0


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class ShakyStore(MemoryEventStore):
    """Fails the next reads as often as told."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.hole = False

    async def read(
        self,
        after: int,
        *,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
        as_stored: bool = False,
    ) -> Sequence[StoredEvent]:
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")
        page = await super().read(after, limit=limit, bytes_max=bytes_max)
        return page[1:] if self.hole else page


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ShakyStore:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    return ShakyStore()


def _head(clock: Clock | None = None) -> LogHead:
    return LogHead(metrics=RegistryMetrics(CollectorRegistry()), clock=clock or Clock())


def _pages(store: MemoryEventStore) -> LogPages:
    return LogPages(store, encode=lambda events: b"".join(event.data for event in events))


async def _first(pages: AsyncIterator[Page], number: int) -> list[Page]:
    found: list[Page] = []
    async with asyncio.timeout(TIMEOUT_S), aclosing(pages) as reading:  # type: ignore[type-var]
        async for page in reading:
            found.append(page)
            if len(found) == number:
                break
    return found


async def test_pages_then_a_heartbeat_at_once(
    store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pages, "PAGE_EVENTS_MAX", 4)
    await store.append([append_of(10)])
    pages = await _first(watch(_pages(store), _head(), 0), 4)
    assert [(page.from_position, page.to_position, page.head_position) for page in pages] == [
        (0, 4, 10), (4, 8, 10), (8, 10, 10), (10, 10, 10),
    ]  # fmt: skip
    assert pages[-1].events == ()


async def test_a_log_that_is_away_is_waited_for(store: ShakyStore) -> None:
    await store.append([append_of(2)])
    store.failures = 3
    (page,) = await _first(watch(_pages(store), _head(), 0), 1)
    assert [event.position for event in page.events] == [1, 2]


async def test_no_heartbeat_while_the_log_was_not_heard_of(store: ShakyStore) -> None:
    clock = Clock()
    head = LogHead(metrics=RegistryMetrics(CollectorRegistry()), clock=clock)
    pages = watch(_pages(store), head, 0)
    async with asyncio.timeout(TIMEOUT_S):
        assert (await anext(pages)).to_position == 0
    clock.now_s += 60.0  # nobody has heard of the log for a minute
    assert not head.is_confirmed()
    waiting = asyncio.ensure_future(anext(pages))
    clock.now_s += 1.0
    assert (await asyncio.wait({waiting}, timeout=0.05))[0] == set()
    await store.append([append_of(1)])
    head.advance(1)
    async with asyncio.timeout(TIMEOUT_S):
        assert (await waiting).to_position == 1


async def test_a_hole_in_the_log_is_not_passed_over(store: ShakyStore) -> None:
    await store.append([append_of(3)])
    store.hole = True
    with pytest.raises(EventflowsError, match="hole after position 0"):
        await _first(watch(_pages(store), _head(), 0), 1)


async def test_a_position_beyond_the_log_is_refused(store: ShakyStore) -> None:
    with pytest.raises(StateForbids, match="ends at 0"):
        await _first(watch(_pages(store), _head(), 1), 1)


async def test_the_ranges_of_a_selection_go_on_where_nothing_is_selected(
    store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pages, "PAGE_EVENTS_MAX", 4)
    wanted = append_of(1)
    for item in (append_of(9), wanted, append_of(9)):
        await store.append([item])
    selection = Selection(stream_ids=frozenset({wanted.stream_id}))
    head = _head()
    pages = watch(_pages(store), head, 0, selection)
    found = await _first(pages, 2)
    assert [(page.from_position, page.to_position) for page in found] == [(0, 19), (19, 19)]
    assert [[event.position for event in page.events] for page in found] == [[10], []]


async def test_a_selection_goes_on_live_when_nothing_is_selected(store: ShakyStore) -> None:
    wanted = append_of(1)
    selection = Selection(stream_ids=frozenset({wanted.stream_id}))
    head = _head()
    pages = watch(_pages(store), head, 0, selection)
    async with asyncio.timeout(TIMEOUT_S), aclosing(pages) as reading:  # type: ignore[type-var]
        assert (await anext(reading)).to_position == 0
        for number, item in enumerate((append_of(1), wanted), start=1):
            await store.append([item])
            head.advance(number)
            while (page := await anext(reading)).to_position < number:
                pass
            assert page.from_position == number - 1
            assert [event.stream_id for event in page.events] == [wanted.stream_id] * (number - 1)


async def test_a_closed_head_ends_the_watch(store: ShakyStore) -> None:
    head = _head()
    pages = watch(_pages(store), head, 0)
    async with asyncio.timeout(TIMEOUT_S):
        await anext(pages)
        head.close()
        with pytest.raises(StopAsyncIteration):
            await anext(pages)
