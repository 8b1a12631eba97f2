"""What every event store promises (`registry.ports.EventStore`)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from uuid import uuid4

import pytest
from kernel.errors import InvalidInput
from prometheus_client import CollectorRegistry
from registry.application.group_commit import GroupCommit
from registry.application.metrics import RegistryMetrics
from registry.application.verify import verify
from registry.ports.event_store import (
    Append,
    EventStore,
    NewEvent,
    Outcome,
    Selection,
    Status,
    StoredEvent,
)

from tests.support.registry import append_of

TIMEOUT_S = 10.0


async def test_an_empty_log_ends_at_0(store: EventStore) -> None:
    head = await store.head()
    assert (head.position, head.hash) == (0, bytes(32))
    assert await store.read(0, limit=10) == []
    assert await store.seals(0, limit=10) == []


async def test_positions_are_dense_and_follow_the_order_of_the_batch(store: EventStore) -> None:
    first, second, third = append_of(2), append_of(1), append_of(3)
    outcomes = await store.append([first, second, third])
    assert [one.position for one in outcomes] == [2, 3, 6]
    events = await store.read(0, limit=10)
    assert [event.position for event in events] == [1, 2, 3, 4, 5, 6]
    expected = [first] * 2 + [second] + [third] * 3
    assert [event.stream_id for event in events] == [one.stream_id for one in expected]
    assert (await store.head()).position == 6


async def test_a_stored_event_comes_back_as_it_was(store: EventStore) -> None:
    item = append_of(1, data=bytes(range(256)), metadata=b"\x00who")
    await store.append([item])
    (event,) = await store.read(0, limit=10)
    assert (event.data, event.metadata) == (bytes(range(256)), b"\x00who")
    assert (event.name, event.version) == ("account.created.v1", 1)
    assert event.time.tzinfo is not None
    assert await store.read_stream(item.stream_id) == [event]


async def test_versions_are_dense_in_each_stream(store: EventStore) -> None:
    first = append_of(2)
    await store.append([first, append_of(1)])
    second = append_of(1, stream_id=first.stream_id, expected_version=2)
    (outcome,) = await store.append([second])
    assert (outcome.status, outcome.version) == (Status.STORED, 3)
    stream = await store.read_stream(first.stream_id)
    assert [event.version for event in stream] == [1, 2, 3]
    assert [
        event.version for event in await store.read_stream(first.stream_id, after_version=1)
    ] == [2, 3]
    assert [event.version for event in await store.read_stream(first.stream_id, limit=1)] == [1]


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_a_stale_writer_is_refused(store: EventStore, expected: int) -> None:
    first = append_of(2)
    await store.append([first])
    late = append_of(1, stream_id=first.stream_id, expected_version=expected)
    (outcome,) = await store.append([late])
    assert (outcome.status, outcome.version) == (Status.VERSION_CONFLICT, 2)
    assert (await store.head()).position == 2


async def test_a_refused_command_does_not_disturb_its_neighbours(store: EventStore) -> None:
    await store.append([append_of(1, claims=("name/a",))])
    batch = [
        append_of(1),
        append_of(1, expected_version=7),
        append_of(1, claims=("name/a", "name/z")),
        append_of(2, claims=("name/b",)),
    ]
    outcomes = await store.append(batch)
    assert [one.status for one in outcomes] == [
        Status.STORED, Status.VERSION_CONFLICT, Status.CLAIM_CONFLICT, Status.STORED,
    ]  # fmt: skip
    assert outcomes[2].claim == "name/a"
    assert [outcomes[0].position, outcomes[3].position] == [2, 4]
    assert not (await verify(store)).problem
    (again,) = await store.append([append_of(1, claims=("name/z",))])
    assert again.status is Status.STORED, "a refused command claims nothing"


async def test_a_released_name_can_be_taken_again(store: EventStore) -> None:
    owner = append_of(1, claims=("name/a",))
    await store.append([owner])
    stranger = append_of(1, releases=("name/a",))
    await store.append([stranger])
    (refused,) = await store.append([append_of(1, claims=("name/a",))])
    assert refused.status is Status.CLAIM_CONFLICT, "only its holder can release a name"
    await store.append(
        [append_of(1, stream_id=owner.stream_id, expected_version=1, releases=("name/a",))]
    )
    (taken,) = await store.append([append_of(1, claims=("name/a",))])
    assert taken.status is Status.STORED


async def test_a_repeated_command_gets_its_first_answer(store: EventStore) -> None:
    first = append_of(2, claims=("name/a",))
    (stored,) = await store.append([first])
    await store.append([append_of(1, stream_id=first.stream_id, expected_version=2)])
    (again,) = await store.append([first])
    assert again == replace(stored, status=Status.REPLAYED)
    assert (await store.head()).position == 3


async def test_a_reused_command_id_with_another_request_is_refused(store: EventStore) -> None:
    first = append_of(1)
    await store.append([first])
    other = replace(append_of(1), command_id=first.command_id, request_hash=bytes(32))
    (outcome,) = await store.append([other])
    assert outcome.status is Status.COMMAND_REUSED
    assert (await store.head()).position == 1


async def test_a_command_without_events_is_remembered(
    store: EventStore,
) -> None:
    first = append_of(1)
    await store.append([first])
    nothing = append_of(0, stream_id=first.stream_id, expected_version=1)
    (outcome,) = await store.append([nothing])
    assert outcome == Outcome(status=Status.STORED, version=1, position=1, event_count=0)
    await store.append([append_of(1, stream_id=first.stream_id, expected_version=1)])
    (again,) = await store.append([nothing])
    assert again == Outcome(status=Status.REPLAYED, version=1, position=1, event_count=0)
    assert (await store.head()).position == 2


async def test_a_command_can_be_found_by_its_id(store: EventStore) -> None:
    item = append_of(2)
    assert await store.find_command(item.command_id) is None
    await store.append([item])
    found = await store.find_command(item.command_id)
    assert found is not None
    assert (found.request_hash, found.version, found.position, found.event_count) == (
        item.request_hash, 2, 2, 2,
    )  # fmt: skip


async def test_pages_have_no_gaps_and_keep_their_limits(store: EventStore) -> None:
    await store.append([append_of(7, data=b"x" * 100, metadata=b"") for _ in range(5)])
    position, seen = 0, []
    while page := await store.read(position, limit=4):
        seen += [event.position for event in page]
        position = page[-1].position
    assert seen == list(range(1, 36))
    assert len(await store.read(0, limit=100, bytes_max=250)) == 2
    assert len(await store.read(0, limit=100, bytes_max=1)) == 1, "the first always comes"


async def test_events_without_bytes_come_in_pages_too(store: EventStore) -> None:
    await store.append([append_of(5, data=b"", metadata=b"")])
    for limit in (1, 2, 10):
        page = await store.read(0, limit=limit)
        assert [event.position for event in page] == [1, 2, 3, 4, 5][:limit]


async def test_large_events_come_whole_and_count_for_the_page(store: EventStore) -> None:
    sizes_bytes = [100, 5_000, 2_048, 300_000, 10, 2_049]
    for number, size_bytes in enumerate(sizes_bytes):
        await store.append([append_of(1, data=bytes([number]) * size_bytes, metadata=b"")])
    seen: list[bytes] = []
    while page := await store.read(len(seen), limit=10, bytes_max=8_000):
        assert len(page) == 1 or sum(len(event.data) for event in page) <= 8_000
        seen += [event.data for event in page]
    assert seen == [bytes([number]) * size for number, size in enumerate(sizes_bytes)]


async def test_a_selection_gives_its_events_and_covers_all_positions(store: EventStore) -> None:
    await _append_of_all_categories(store)
    selection = Selection(categories=frozenset({"connection", "flow"}))
    everything = await store.read(0, limit=100)
    expected = [event for event in everything if event.category in ("connection", "flow")]
    covered, seen = 0, list[StoredEvent]()
    while covered < 40:
        page = await store.read_selected(covered, to=40, selection=selection, limit=3)
        assert covered < page.covered_position <= 40
        assert len(page.events) <= 3
        assert all(covered < one.position <= page.covered_position for one in page.events)
        covered = page.covered_position
        seen += page.events
    assert seen == expected
    assert len(expected) == 16


async def test_a_selection_names_streams_and_categories_together(store: EventStore) -> None:
    batch = await _append_of_all_categories(store)
    account, flow = batch[0].stream_id, batch[4].stream_id
    selection = Selection(categories=frozenset({"algorithm"}), stream_ids=frozenset({account}))
    page = await store.read_selected(0, to=40, selection=selection, limit=100)
    assert {event.category for event in page.events} == {"algorithm", "account"}
    assert sum(event.stream_id == account for event in page.events) == 1
    assert page.covered_position == 40
    only = Selection(stream_ids=frozenset({flow, str(uuid4())}))
    (event,) = (await store.read_selected(0, to=40, selection=only, limit=100)).events
    assert event.stream_id == flow


async def test_a_selection_without_events_covers_everything(store: EventStore) -> None:
    await store.append([append_of(10)])
    selection = Selection(categories=frozenset({"flow"}), stream_ids=frozenset({str(uuid4())}))
    page = await store.read_selected(2, to=9, selection=selection, limit=1)
    assert (page.covered_position, list(page.events)) == (9, [])


async def test_a_selection_is_cut_by_bytes_and_ends_where_asked(store: EventStore) -> None:
    item = append_of(6, data=b"x" * 3_000, metadata=b"")
    await store.append([item])
    selection = Selection(stream_ids=frozenset({item.stream_id}))
    page = await store.read_selected(1, to=5, selection=selection, limit=9, bytes_max=7_000)
    assert ([event.position for event in page.events], page.covered_position) == ([2, 3], 3)
    rest = await store.read_selected(3, to=5, selection=selection, limit=9, bytes_max=7_000)
    assert ([event.position for event in rest.events], rest.covered_position) == ([4, 5], 5)
    first = await store.read_selected(5, to=6, selection=selection, limit=9, bytes_max=1)
    assert [event.position for event in first.events] == [6], "the first always comes"


async def test_the_chain_can_be_recomputed_from_the_rows(store: EventStore) -> None:
    for _ in range(3):
        await store.append([append_of(2), append_of(1, expected_version=9), append_of(0)])
    report = await verify(store)
    assert (report.problem, report.events, report.seals) == ("", 6, 3)
    assert report.head_hash == (await store.head()).hash
    seals = await store.seals(0, limit=10)
    assert [(seal.first_position, seal.last_position) for seal in seals] == [(1, 2), (3, 4), (5, 6)]
    assert seals[0].time < seals[1].time < seals[2].time
    assert await store.seals(2, limit=1) == [seals[1]]


@pytest.mark.parametrize("shared", ["command", "stream", "claim"])
async def test_a_batch_whose_commands_touch_each_other_is_refused_whole(
    store: EventStore, shared: str
) -> None:
    one = append_of(1, claims=("name/a",))
    other = {
        "command": replace(append_of(1), command_id=one.command_id),
        "stream": replace(append_of(1), stream_id=one.stream_id),
        "claim": append_of(1, claims=("name/a",)),
    }[shared]
    with pytest.raises(InvalidInput):
        await store.append([append_of(1), one, other])
    assert (await store.head()).position == 0
    (stored,) = await store.append([one])
    assert stored.status is Status.STORED


async def test_a_listener_hears_of_every_append(store: EventStore) -> None:
    async with asyncio.timeout(TIMEOUT_S), aclosing(store.listen(poll_s=60.0)) as positions:  # type: ignore[type-var]
        assert await anext(positions) == 0
        await store.append([append_of(2)])
        assert await anext(positions) == 2
        await store.append([append_of(1)])
        await store.append([append_of(1)])
        while await anext(positions) < 4:
            pass


async def test_a_listener_is_told_the_head_while_nothing_happens(store: EventStore) -> None:
    async with asyncio.timeout(TIMEOUT_S), aclosing(store.listen(poll_s=0.01)) as positions:  # type: ignore[type-var]
        assert [await anext(positions) for _ in range(3)] == [0, 0, 0]


async def test_fresh_commands_are_not_pruned(store: EventStore) -> None:
    item = append_of(1)
    await store.append([item])
    assert await store.prune_commands(limit=10) == 0
    assert await store.find_command(item.command_id) is not None


async def test_a_cancelled_caller_does_not_cancel_the_append(store: EventStore) -> None:
    metrics = RegistryMetrics(CollectorRegistry())
    stored = asyncio.Event()
    group_commit = GroupCommit(store, metrics=metrics, stored=lambda _: stored.set())
    item = append_of(1)
    caller = asyncio.create_task(group_commit.append(item))
    await asyncio.sleep(0)  # the caller has queued it
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    writer = asyncio.create_task(group_commit.run())
    async with asyncio.timeout(TIMEOUT_S):
        await stored.wait()
        assert (await group_commit.append(item)).status is Status.REPLAYED
    writer.cancel()
    await asyncio.wait({writer})


async def test_a_stream_that_is_not_there_is_empty(store: EventStore) -> None:
    assert await store.read_stream(str(uuid4())) == []


async def _append_of_all_categories(store: EventStore) -> list[Append]:
    """40 commands of an event each, the five categories in turn."""
    names = (
        ("account", "account.created.v1"),
        ("algorithm", "algorithm.created.v1"),
        ("connection", "connection.created.v1"),
        ("topic_access", "topic_access.set.v1"),
        ("flow", "flow.created.v1"),
    )
    batch = [
        replace(append_of(1, category=category), events=(NewEvent(name=name, data=b"data"),))
        for _ in range(8)
        for category, name in names
    ]
    await store.append(batch)
    return batch
