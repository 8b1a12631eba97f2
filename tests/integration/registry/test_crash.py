"""PostgreSQL dies under writers: what was acknowledged is there, the rest is asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from devstack import Postgres
from kernel.errors import Unavailable
from prometheus_client import CollectorRegistry
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application.group_commit import GroupCommit
from registry.application.metrics import RegistryMetrics
from registry.application.verify import verify
from registry.ports.event_store import Append, Status, StoredEvent

from tests.support.registry import append_of, fresh_database

WRITERS = 8
BEFORE_KILL = 200
AFTER_KILL = 200
TIMEOUT_S = 60.0


@pytest.fixture
async def own_postgres() -> AsyncIterator[Postgres]:
    """A server that this test may kill."""
    server = Postgres()
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def test_kill_9_under_writers_loses_nothing_and_stores_nothing_twice(
    own_postgres: Postgres,
) -> None:
    database = await fresh_database(own_postgres)
    metrics = RegistryMetrics(CollectorRegistry())
    acknowledged: list[Append] = []
    changed = asyncio.Condition()

    async def write(group_commit: GroupCommit) -> None:
        while len(acknowledged) < BEFORE_KILL + AFTER_KILL:
            item = append_of(2)
            outcome = await group_commit.append(item)
            assert outcome.status in {Status.STORED, Status.REPLAYED}
            async with changed:
                acknowledged.append(item)
                changed.notify_all()

    async with PostgresEventStore(database.log_dsn) as store, asyncio.timeout(TIMEOUT_S):
        group_commit = GroupCommit(store, metrics=metrics, stored=lambda _position: None)
        running = asyncio.create_task(group_commit.run())
        writers = [asyncio.create_task(write(group_commit)) for _ in range(WRITERS)]
        async with changed:
            await changed.wait_for(lambda: len(acknowledged) >= BEFORE_KILL)
        own_postgres.kill()
        await own_postgres.restart()
        await asyncio.gather(*writers)

        for item in acknowledged:
            stream = await _stream(store, item)
            assert [event.version for event in stream] == [1, 2], "once, and whole"
        again = [await group_commit.append(item) for item in acknowledged]
        assert {outcome.status for outcome in again} == {Status.REPLAYED}
        report = await verify(store)
        assert report.problem == ""
        assert report.events == 2 * len(acknowledged)
        running.cancel()
        await asyncio.wait({running})


async def _stream(store: PostgresEventStore, item: Append) -> list[StoredEvent]:
    """Its events; the pool may still hold connections to the server that died."""
    while True:
        try:
            return list(await store.read_stream(item.stream_id))
        except Unavailable:
            await asyncio.sleep(0)
