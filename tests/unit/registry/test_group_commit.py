"""Group commit: what goes together, what is asked again, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from kernel.errors import EventflowsError, InvalidInput, Overloaded, TooLarge, Unavailable
from prometheus_client import CollectorRegistry
from registry.adapters.memory_event_store import MemoryEventStore
from registry.application import group_commit as module
from registry.application.group_commit import GroupCommit
from registry.application.metrics import RegistryMetrics
from registry.ports.event_store import Append, Outcome, Status

from tests.support.registry import append_of

TIMEOUT_S = 10.0


class ScriptedStore(MemoryEventStore):
    """Notes every batch; fails, or answers not at all, as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Sequence[Append]] = []
        self.before: Callable[[Sequence[Append]], EventflowsError | None] = lambda _: None
        self.after: Callable[[Sequence[Append]], EventflowsError | None] = lambda _: None

    async def append(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        self.batches.append(batch)
        if error := self.before(batch):
            raise error
        outcomes = await super().append(batch)
        if error := self.after(batch):
            raise error
        return outcomes


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@asynccontextmanager
async def _running(
    store: ScriptedStore,
    *,
    waiting_max: int = 100,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[GroupCommit]:
    metrics = RegistryMetrics(CollectorRegistry())
    fields = {"clock": clock} if clock else {}
    commit = GroupCommit(
        store,
        metrics=metrics,
        stored=lambda _position: None,
        waiting_max=waiting_max,
        **fields,
    )
    running = asyncio.create_task(commit.run())
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield commit
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_all_that_wait_go_together(store: ScriptedStore) -> None:
    async with _running(store) as commit:
        outcomes = await asyncio.gather(*(commit.append(append_of(1)) for _ in range(20)))
    assert [len(batch) for batch in store.batches] == [20]
    assert sorted(outcome.position for outcome in outcomes) == list(range(1, 21))


async def test_a_batch_is_bounded_by_number_and_bytes(
    store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMANDS_PER_BATCH_MAX", 8)
    async with _running(store) as commit:
        await asyncio.gather(*(commit.append(append_of(1)) for _ in range(20)))
    assert [len(batch) for batch in store.batches] == [8, 8, 4]
    store.batches.clear()
    monkeypatch.setattr(module, "BATCH_BYTES_MAX", 300)
    async with _running(store) as commit:
        items = [append_of(1, data=b"x" * 100, metadata=b"") for _ in range(7)]
        await asyncio.gather(*(commit.append(item) for item in items))
    assert [len(batch) for batch in store.batches] == [3, 3, 1]


@pytest.mark.parametrize("shared", ["command", "stream", "claim", "release"])
async def test_what_touches_an_earlier_one_waits_for_its_end_and_the_others_do_not(
    store: ScriptedStore, shared: str
) -> None:
    first = append_of(1, claims=("name/a",))
    second = {
        "command": first,
        "stream": append_of(1, stream_id=first.stream_id, expected_version=1),
        "claim": append_of(1, claims=("name/a",)),
        "release": append_of(1, releases=("name/a",)),
    }[shared]
    free = append_of(1)
    async with _running(store) as commit:
        await asyncio.gather(*(commit.append(one) for one in (first, second, free)))
    assert store.batches == [[first, free], [second]]


async def test_a_long_row_of_commands_on_one_stream_keeps_its_order(store: ScriptedStore) -> None:
    first = append_of(1)
    row = [first] + [
        append_of(1, stream_id=first.stream_id, expected_version=version)
        for version in range(1, 50)
    ]
    async with _running(store) as commit:
        outcomes = await asyncio.gather(*(commit.append(one) for one in row))
    assert [outcome.version for outcome in outcomes] == list(range(1, 51))


async def test_commands_that_touch_each_other_go_one_after_the_other(store: ScriptedStore) -> None:
    first = append_of(1, claims=("name/a",))
    next_version = append_of(1, stream_id=first.stream_id, expected_version=1)
    same_name = append_of(1, claims=("name/a",))
    async with _running(store) as commit:
        outcomes = await asyncio.gather(
            *(commit.append(one) for one in (first, next_version, same_name, append_of(1), first))
        )
    assert [outcome.status for outcome in outcomes] == [
        Status.STORED, Status.STORED, Status.CLAIM_CONFLICT, Status.STORED, Status.REPLAYED,
    ]  # fmt: skip
    assert all(len({one.stream_id for one in batch}) == len(batch) for batch in store.batches)


async def test_a_full_queue_refuses_with_a_time_to_wait(store: ScriptedStore) -> None:
    metrics = RegistryMetrics(CollectorRegistry())
    commit = GroupCommit(store, metrics=metrics, stored=lambda _position: None, waiting_max=2)
    waiting = [asyncio.create_task(commit.append(append_of(1))) for _ in range(2)]
    await asyncio.sleep(0)  # both have queued
    with pytest.raises(Overloaded) as caught:
        await commit.append(append_of(1))
    assert caught.value.retry_after_s > 0
    running = asyncio.create_task(commit.run())
    async with asyncio.timeout(TIMEOUT_S):
        outcomes = await asyncio.gather(*waiting)
    assert {outcome.status for outcome in outcomes} == {Status.STORED}
    running.cancel()
    await asyncio.wait({running})


@pytest.mark.parametrize(
    "item", [append_of(101), append_of(1, data=b"x" * 600_000)], ids=["events", "bytes"]
)
async def test_a_command_above_the_limits_is_refused_before_it_waits(
    store: ScriptedStore, item: Append
) -> None:
    async with _running(store) as commit:
        with pytest.raises(TooLarge):
            await commit.append(item)
    assert store.batches == []


async def test_one_that_the_log_cannot_take_fails_alone(store: ScriptedStore) -> None:
    good, bad = [append_of(1) for _ in range(3)], append_of(1, data=b"bad")
    refused = InvalidInput("not this one")
    store.before = lambda batch: refused if bad in batch else None
    async with _running(store) as commit:
        results = await asyncio.gather(
            *(commit.append(one) for one in (good[0], bad, *good[1:])), return_exceptions=True
        )
    assert results[1] is refused
    stored = [one for one in results if isinstance(one, Outcome)]
    assert [outcome.status for outcome in stored] == [Status.STORED] * 3
    assert [len(batch) for batch in store.batches] == [4, 1, 1, 1, 1]


async def test_an_unknown_outcome_is_asked_for_again_with_the_same_ids(
    store: ScriptedStore,
) -> None:
    lost = iter([Unavailable("connection lost at commit"), None])
    store.after = lambda _batch: next(lost)
    async with _running(store) as commit:
        items = [append_of(1), append_of(2)]
        outcomes = await asyncio.gather(*(commit.append(item) for item in items))
    assert [outcome.status for outcome in outcomes] == [Status.REPLAYED, Status.REPLAYED]
    assert (await store.head()).position == 3, "stored once"
    assert store.batches[0] == store.batches[1]


async def test_an_outage_ends_in_unavailable_after_its_limit(store: ScriptedStore) -> None:
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 6.0  # every look at it
        return now_s

    store.before = lambda _batch: Unavailable("away")
    async with _running(store, clock=clock) as commit:
        with pytest.raises(Unavailable):
            await commit.append(append_of(1))
        assert len(store.batches) >= 2
        store.before = lambda _batch: None
        assert (await commit.append(append_of(1))).status is Status.STORED


async def test_what_waits_when_the_writer_ends_is_told_so(store: ScriptedStore) -> None:
    store.before = lambda _batch: Unavailable("away")
    under_way = append_of(1)
    held_back = append_of(1, stream_id=under_way.stream_id, expected_version=1)
    async with _running(store) as commit:
        waiting = [
            asyncio.create_task(commit.append(one)) for one in (under_way, held_back, append_of(1))
        ]
        while not store.batches:
            await asyncio.sleep(0)
    for one in waiting:
        with pytest.raises(Unavailable):
            await one
    with pytest.raises(Unavailable):
        await commit.append(append_of(1))


async def test_a_repeat_of_a_waiting_command_is_no_second_command(store: ScriptedStore) -> None:
    item = append_of(1)
    other_body = replace(item, request_hash=bytes(32))
    async with _running(store) as commit:
        outcomes = await asyncio.gather(*(commit.append(one) for one in (item, item, other_body)))
    assert [outcome.status for outcome in outcomes] == [
        Status.STORED, Status.REPLAYED, Status.COMMAND_REUSED,
    ]  # fmt: skip
