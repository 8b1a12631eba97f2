"""No space for events: commands wait, then are refused; nothing is half-written; space helps.

/dev/full takes the place of the partition's heap, and its every write is "no space left on device":
so PostgreSQL meets the real error, without a mount and without filling a disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from devstack import Postgres
from kernel.errors import Unavailable
from prometheus_client import CollectorRegistry
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application import group_commit as group_commit_module
from registry.application.group_commit import GroupCommit
from registry.application.metrics import RegistryMetrics
from registry.ports.event_store import Status

from tests.support.appending import group_commit_over
from tests.support.recomputed_chain import assert_sound
from tests.support.registry import Database, append_of, fresh_database

TIMEOUT_S = 60.0
PARTITION = "log.events_from_000000000000001"


@asynccontextmanager
async def _no_space_for_events(postgres: Postgres, database: Database) -> AsyncIterator[None]:
    """Inside, the empty heap of the partition cannot grow."""
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        at = await connection.fetchval("SELECT pg_relation_filepath($1)", PARTITION)
        heap = Path(await connection.fetchval("SHOW data_directory"), at)
        kept = heap.with_suffix(".kept")
        assert heap.stat().st_size == 0
        heap.rename(kept)
        heap.symlink_to("/dev/full")
        try:
            yield
        finally:
            kept.replace(heap)
            # Backends that opened it go on with what they have: they must open it again.
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
    finally:
        await connection.close()


async def test_without_space_a_batch_is_unavailable_and_leaves_no_trace(
    own_postgres: Postgres,
) -> None:
    database = await fresh_database(own_postgres)
    item = append_of(2, claims=("name/a",))
    async with PostgresEventStore(database.log_dsn) as store, asyncio.timeout(TIMEOUT_S):
        async with _no_space_for_events(own_postgres, database):
            with pytest.raises(Unavailable, match="53100"):
                await store.append([item, append_of(1)])
            assert (await store.head()).position == 0
            assert await store.find_command(item.command_id) is None
        async with group_commit_over(store) as group_commit:  # asks again after the lost connection
            assert (await group_commit.append(item)).status is Status.STORED
        assert len(await assert_sound(store)) == 2


async def test_commands_that_came_while_there_was_no_space_are_stored_when_there_is(
    own_postgres: Postgres,
) -> None:
    database = await fresh_database(own_postgres)
    metrics = RegistryMetrics(CollectorRegistry())
    items = [append_of(1) for _ in range(20)]
    async with PostgresEventStore(database.log_dsn) as store, asyncio.timeout(TIMEOUT_S):
        commit = GroupCommit(store, metrics=metrics, stored=lambda _position: None)
        running = asyncio.create_task(commit.run())
        async with _no_space_for_events(own_postgres, database):
            waiting = [asyncio.create_task(commit.append(item)) for item in items]
            while not _failures(metrics):
                await asyncio.wait(waiting, timeout=0.01)
            assert not any(task.done() for task in waiting), "they wait, none is refused yet"
        outcomes = await asyncio.gather(*waiting)
        assert {outcome.status for outcome in outcomes} == {Status.STORED}
        assert len(await assert_sound(store)) == len(items)
        running.cancel()
        await asyncio.wait({running})


async def test_a_disk_that_stays_full_ends_in_a_clear_refusal(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit_module, "OUTAGE_MAX_S", 0.2)
    database = await fresh_database(own_postgres)
    item = append_of(1)
    async with (
        PostgresEventStore(database.log_dsn) as store,
        group_commit_over(store) as group_commit,
        asyncio.timeout(TIMEOUT_S),
    ):
        async with _no_space_for_events(own_postgres, database):
            with pytest.raises(Unavailable, match="try again"):
                await group_commit.append(item)
        monkeypatch.undo()
        assert (await group_commit.append(item)).status is Status.STORED
        assert len(await assert_sound(store)) == 1


def _failures(metrics: RegistryMetrics) -> float:
    (family,) = metrics.append_failures.collect()
    return sum(one.value for one in family.samples if one.name.endswith("_total"))
