"""The database server's clock was set back: the log's times go on, or wait for the clock."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from itertools import pairwise

import asyncpg
from devstack import Postgres
from prometheus_client import CollectorRegistry
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.postgres_timeline import PostgresTimeline
from registry.application.group_commit import GroupCommit
from registry.application.metrics import RegistryMetrics
from registry.ports.event_store import Status

from tests.support.appending import group_commit_over
from tests.support.recomputed_chain import assert_sound
from tests.support.registry import Database, append_of, fresh_database

TIMEOUT_S = 30.0


async def _set_clock_back(database: Database, *, by: timedelta) -> None:
    """As the log sees it: its last seal lies so far ahead of the clock."""
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        await connection.execute("UPDATE log.head SET time = clock_timestamp() + $1", by)
    finally:
        await connection.close()


async def _asked(database: Database) -> datetime:
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        asked: datetime = await connection.fetchval("SELECT asked FROM log.head")
        return asked
    finally:
        await connection.close()


async def _as_if_asked(database: Database, *, by: timedelta) -> datetime:
    """As the log sees it: a time was asked for, then the clock was set back to before it."""
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        await connection.execute("UPDATE log.head SET asked = clock_timestamp() + $1", by)
    finally:
        await connection.close()
    return await _asked(database)


async def test_a_little_back_the_times_still_increase(postgres: Postgres) -> None:
    database = await fresh_database(postgres)
    await _set_clock_back(database, by=timedelta(seconds=50))
    async with PostgresEventStore(database.log_dsn) as store, asyncio.timeout(TIMEOUT_S):
        async with group_commit_over(store) as group_commit:
            for _ in range(5):
                assert (await group_commit.append(append_of(1))).status is Status.STORED
        times = [seal.time for seal in await store.seals(0, limit=10)]
        steps = {later - earlier for earlier, later in pairwise(times)}
        assert steps == {timedelta(microseconds=1)}
        await assert_sound(store)


async def test_what_was_asked_for_keeps_its_answer_when_the_clock_is_set_back(
    postgres: Postgres,
) -> None:
    database = await fresh_database(postgres)
    async with (
        PostgresEventStore(database.log_dsn) as store,
        PostgresPool(database.log_dsn) as pool,
        asyncio.timeout(TIMEOUT_S),
        group_commit_over(store) as group_commit,
    ):
        timeline = PostgresTimeline(pool)
        await group_commit.append(append_of(1))
        (first,) = await store.seals(0, limit=1)
        asked = (await timeline.seal_at(first.time)).clock
        assert (await timeline.seal_at(asked)).seal == first
        assert await _asked(database) == asked
        ahead = await _as_if_asked(database, by=timedelta(seconds=50))
        assert (await timeline.seal_at(ahead)).seal == first
        await group_commit.append(append_of(1))
        (second,) = await store.seals(1, limit=1)
        assert second.time == ahead + timedelta(microseconds=1)
        for time in (asked, ahead):
            assert (await timeline.seal_at(time)).seal == first
        assert (await timeline.seal_at(second.time)).seal == second, "the log has passed it"
        assert (await timeline.seal_at(second.time + timedelta(microseconds=1))).seal is None
        await assert_sound(store)


async def test_too_far_back_commands_wait_until_the_clock_has_come_near(postgres: Postgres) -> None:
    database = await fresh_database(postgres)
    metrics = RegistryMetrics(CollectorRegistry())
    await _set_clock_back(database, by=timedelta(seconds=61))
    async with PostgresEventStore(database.log_dsn) as store, asyncio.timeout(TIMEOUT_S):
        commit = GroupCommit(store, metrics=metrics, stored=lambda _position: None)
        running = asyncio.create_task(commit.run())
        assert (await commit.append(append_of(1))).status is Status.STORED
        assert metrics.append_failures.labels("LogTimeAhead")._value.get() > 0
        await assert_sound(store)
        running.cancel()
        await asyncio.wait({running})
