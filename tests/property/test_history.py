"""States as of any position, differences between any two: what full folds of the log say."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from catalog import aggregates, codec
from catalog.catalog import Catalog
from catalog.kinds import KIND_OF_EVENT, AggregateKind
from catalog.touched import Touched
from eventflows.events.v1 import events_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from registry.adapters.memory_event_store import MemoryEventStore
from registry.application.diff import IDS_MAX, Compared, Diff, Wanted
from registry.application.history import History, Place
from registry.domain.descriptions import Key, described
from registry.ports.event_store import NewEvent

from tests.property.test_flows import steps, told
from tests.support.event_log import EventLog
from tests.support.registry import append_of
from tests.unit.registry.past import Past, folded

KINDS = [kind for kind in AggregateKind if kind is not AggregateKind.UNSPECIFIED]
histories = st.lists(steps, max_size=10)


def log_of(history: list[tuple[object, ...]], *, all_granted: bool, deleted: bool) -> EventLog:
    log = told(history, all_granted=all_granted)
    if deleted:
        log.delete_connection("plant")
    return log


async def past_of(log: EventLog) -> Past:
    """The log in a store, and everything over it."""
    store = MemoryEventStore()
    for recorded in log.recorded:
        about = recorded.metadata
        event = NewEvent(name=codec.stored_name(recorded.event), data=codec.encode(recorded.event))
        command = replace(
            append_of(expected_version=recorded.version - 1, stream_id=recorded.stream_id),
            category=KIND_OF_EVENT[type(recorded.event)].name.lower(),
            events=(event,),
            metadata=events_pb2.Metadata(
                actor=about.actor, command_id=about.command_id
            ).SerializeToString(),
        )
        await store.append([command])
    past = Past.over(store)
    await past.projection.begin()
    return past


async def catalogs_of(past: Past) -> list[Catalog]:
    """A full fold for every position, from 0."""
    head = (await past.store.head()).position
    return [await folded(past.store, position) for position in range(head + 1)]


def ids_in(catalogs: list[Catalog]) -> list[Touched]:
    """Whatever there ever was."""
    return list(
        dict.fromkeys(
            Touched(kind, aggregates.id_of(state))
            for catalog in catalogs
            for kind in KINDS
            for state in aggregates.listed(catalog, kind)
        )
    )


@settings(max_examples=25, deadline=None)
@given(histories, st.booleans(), st.booleans())
def test_every_state_at_every_position_is_that_of_the_full_fold(
    history: list[tuple[object, ...]], all_granted: bool, deleted: bool
) -> None:
    async def check() -> None:
        past = await past_of(log_of(history, all_granted=all_granted, deleted=deleted))
        catalogs = await catalogs_of(past)
        reads = History(store=past.store, moments=past.moments, projection=past.projection)
        for one in ids_in(catalogs):
            for position, catalog in enumerate(catalogs):
                moment, state = await reads.state(one.kind, one.id, position)
                assert moment.position == position
                assert state == aggregates.of(catalog, one.kind, one.id)
        await past.moments.close()

    asyncio.run(check())


@settings(max_examples=25, deadline=None)
@given(histories, st.booleans(), st.sampled_from(KINDS), st.integers(1, 4), st.data())
def test_the_pages_of_a_list_are_the_list_while_the_log_goes_on(
    history: list[tuple[object, ...]],
    all_granted: bool,
    kind: AggregateKind,
    limit: int,
    data: st.DataObject,
) -> None:
    async def check() -> None:
        past = await past_of(log_of(history, all_granted=all_granted, deleted=False))
        head = (await past.store.head()).position
        position = data.draw(st.integers(0, head))
        reads = History(store=past.store, moments=past.moments, projection=past.projection)
        found: list[aggregates.State] = []
        place, rest = None, 1
        while rest:
            as_of = position if place is None else None
            page = await reads.listed(kind, as_of, limit=limit, place=place)
            assert len(page.states) <= limit
            found += page.states
            rest = page.rest
            place = Place(position=page.moment.position, offset=page.offset + len(page.states))
            await past.grow(1)
        assert found == list(aggregates.listed(await folded(past.store, position), kind))
        await past.moments.close()

    asyncio.run(check())


def fields_of(catalog: Catalog, one: Touched) -> dict[Key, object]:
    state = aggregates.of(catalog, *one)
    return {} if state is None else {("", ""): True, **described(state)}


def changed(before: dict[Key, object], after: dict[Key, object]) -> set[Key]:
    """What the definition says: of a thing that went only that."""
    if before and not after:
        return {("", "")}
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def check_diff(catalogs: list[Catalog], found: Compared) -> None:
    first, last = catalogs[found.before.position], catalogs[found.after.position]
    expected = Counter(
        (one, key[0])
        for one in ids_in(catalogs)
        for key in changed(fields_of(first, one), fields_of(last, one))
    )
    differences = [change.difference for change in found.changes]
    assert Counter((Touched(one.kind, one.id), one.field) for one in differences) == expected
    for one in differences:
        at = one.cause.position
        assert found.before.position < at <= found.after.position
        thing = Touched(one.kind, one.id)
        before, after = fields_of(catalogs[at - 1], thing), fields_of(catalogs[at], thing)
        assert one.field in {key[0] for key in changed(before, after)}
        assert one.before != one.after


@settings(max_examples=40, deadline=None)
@given(histories, st.booleans(), st.booleans(), st.data())
def test_the_differences_are_those_of_the_full_folds_also_by_id(
    history: list[tuple[object, ...]], all_granted: bool, deleted: bool, data: st.DataObject
) -> None:
    async def check() -> None:
        past = await past_of(log_of(history, all_granted=all_granted, deleted=deleted))
        catalogs = await catalogs_of(past)
        first = data.draw(st.integers(0, len(catalogs) - 1))
        last = data.draw(st.integers(first, len(catalogs) - 1))
        diff = Diff(store=past.store, moments=past.moments, projection=past.projection)
        everything = await diff.between(first, last, Wanted())
        check_diff(catalogs, everything)
        known = sorted({one.id for one in ids_in(catalogs)})
        ids = frozenset(data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=IDS_MAX)))
        by_id = await diff.between(first, last, Wanted(ids=ids))
        assert by_id.changes == [one for one in everything.changes if one.difference.id in ids]
        kinds = frozenset(data.draw(st.lists(st.sampled_from(KINDS), min_size=1)))
        by_kind = await diff.between(first, last, Wanted(kinds=kinds))
        assert by_kind.changes == [
            one for one in everything.changes if one.difference.kind in kinds
        ]
        await past.moments.close()

    asyncio.run(check())
