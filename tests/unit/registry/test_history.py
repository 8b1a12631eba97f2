"""What reads of the past cost, what they share, and the tokens of their pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress

import pytest
from catalog import aggregates
from catalog.kinds import AggregateKind
from hypothesis import given
from hypothesis import strategies as st
from kernel.errors import InvalidInput, Overloaded
from registry.adapters.memory_event_store import MemoryEventStore
from registry.application.diff import Diff, Wanted
from registry.application.history import STREAM_PAGE_EVENTS_MAX, History, Place
from registry.application.moments import BUILT_AT_ONCE_MAX
from registry.entrypoints.page_tokens import place_in, token_of
from registry.ports.event_store import BATCH_BYTES_MAX, READ_EVENTS_MAX, StoredEvent

from tests.support.long_log import ACCOUNTS, ALGORITHMS, CONNECTIONS
from tests.unit.registry.past import EVENTS, TOPICS, Past, filled, folded

KINDS = [kind for kind in AggregateKind if kind is not AggregateKind.UNSPECIFIED]
WAIT_S = 0.02
BEFORE_ANY_FLOW = ACCOUNTS + ALGORITHMS + CONNECTIONS + TOPICS


class CountingStore(MemoryEventStore):
    """Counts what is read of the log as a whole, and of streams."""

    def __init__(self) -> None:
        super().__init__()
        self.log_reads = 0
        self.stream_events = 0

    async def read(
        self,
        after: int,
        *,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
        as_stored: bool = False,
    ) -> Sequence[StoredEvent]:
        self.log_reads += 1
        return await super().read(after, limit=limit, bytes_max=bytes_max, as_stored=as_stored)

    async def read_stream(
        self, stream_id: str, *, after_version: int = 0, limit: int = READ_EVENTS_MAX
    ) -> Sequence[StoredEvent]:
        page = await super().read_stream(stream_id, after_version=after_version, limit=limit)
        self.stream_events += len(page)
        return page


@pytest.fixture
async def store() -> CountingStore:
    """A believable cluster."""
    return await filled(CountingStore())


@pytest.fixture
async def past(store: CountingStore) -> AsyncIterator[Past]:
    """The same, followed to its end."""
    past = Past.over(store, wait_s=WAIT_S)
    await past.projection.begin()
    yield past
    await past.moments.close()


def history(past: Past) -> History:
    return History(store=past.store, moments=past.moments, projection=past.projection)


async def test_an_aggregate_of_the_past_costs_its_own_events_and_not_the_logs(
    past: Past, store: CountingStore
) -> None:
    position = EVENTS - 100
    catalog = await folded(store, position)
    for kind in KINDS:
        for state in aggregates.listed(catalog, kind)[:3]:
            first = await past.timeline.first_position()
            store.log_reads = store.stream_events = 0
            _, found = await history(past).state(kind, aggregates.id_of(state), position)
            assert found == state
            assert store.log_reads <= first  # the memory's own way to tell where the log begins
            assert store.stream_events <= EVENTS / 10


async def test_a_flow_that_has_only_its_grant_now_needs_no_catalog_of_the_past() -> None:
    store = await filled(CountingStore(), BEFORE_ANY_FLOW)
    past = Past.over(store)
    await past.projection.begin()
    granted = past.projection.catalog.flows()[0]
    assert granted.created_position == 0
    store.log_reads = 0
    moment, found = await history(past).state(AggregateKind.FLOW, granted.flow_id, None)
    assert (moment.position, found) == (BEFORE_ANY_FLOW, granted)
    listed = await history(past).listed(AggregateKind.FLOW, None, limit=TOPICS)
    assert listed.states == past.projection.catalog.flows()
    assert listed.moment == moment
    assert store.log_reads == 0


async def test_what_is_asked_of_now_names_the_moment_that_it_is_of(past: Past) -> None:
    await past.grow(1)
    for limit in (5, 1_000):
        listed = await history(past).listed(AggregateKind.ACCOUNT, None, limit=limit)
        assert listed.moment.position == EVENTS + 1
        assert listed.moment == await past.moments.resolve(EVENTS + 1)
        assert len(listed.states) + listed.rest == ACCOUNTS + 1


async def test_a_stream_of_several_pages_is_read_to_its_end(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.application.history.STREAM_PAGE_EVENTS_MAX", 2)
    assert STREAM_PAGE_EVENTS_MAX > 2
    catalog = past.projection.catalog
    flow = max(catalog.flows(), key=lambda one: one.stream_version)
    assert flow.stream_version > 4
    assert (await history(past).state(AggregateKind.FLOW, flow.flow_id, None))[1] == flow


async def test_a_comparison_shares_the_places_of_catalogs_of_the_past(past: Past) -> None:
    diff = Diff(store=past.store, moments=past.moments, projection=past.projection)
    assert (await diff.between(0, 10, Wanted())).changes
    async with AsyncExitStack() as stack:
        for _ in range(BUILT_AT_ONCE_MAX):
            await stack.enter_async_context(past.moments.place())
        with pytest.raises(Overloaded, match="try again"):
            await diff.between(0, 10, Wanted())
    assert (await diff.between(0, 10, Wanted())).changes


async def test_a_comparison_that_is_cancelled_gives_its_place_back(past: Past) -> None:
    diff = Diff(store=past.store, moments=past.moments, projection=past.projection)
    for _ in range(BUILT_AT_ONCE_MAX + 1):
        running = asyncio.create_task(diff.between(0, EVENTS, Wanted()))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert (await diff.between(0, 10, Wanted())).changes


# ---- tokens --------------------------------------------------------------------------------------


@given(st.sampled_from(KINDS), st.integers(0, 10**18 - 1), st.integers(0, 10**10 - 1))
def test_a_token_leads_to_its_place(kind: AggregateKind, position: int, offset: int) -> None:
    place = Place(position=position, offset=offset)
    assert place_in(token_of(kind, place), kind) == place


@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_-]{0,40}", fullmatch=True))
def test_nothing_is_taken_for_a_token_that_is_none(text: str) -> None:
    with suppress(InvalidInput):
        place = place_in(text, AggregateKind.FLOW)
        assert token_of(AggregateKind.FLOW, place) == text


@pytest.mark.parametrize("text", ["-", "djE6NTow", "djI6NTowOjA", "djE6NTotMTow", "A" * 1_000])
def test_a_token_that_was_not_given_out_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="begin without a token"):
        place_in(text, AggregateKind.FLOW)


def test_a_token_of_another_kind_is_refused() -> None:
    token = token_of(AggregateKind.ACCOUNT, Place(position=7, offset=3))
    with pytest.raises(InvalidInput, match="of a list of another kind"):
        place_in(token, AggregateKind.FLOW)
