"""Statistics of a log that is too large to be counted."""

from __future__ import annotations

from devstack import Postgres
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_log_sizes import PostgresLogSizing
from registry.adapters.postgres_pool import PostgresPool

from tests.support.long_log import fill
from tests.support.registry import fresh_database

EVENTS = 20_000
COUNTED_MAX = 5_000
SHARE_ERROR_MAX = 0.35
"""A quarter of the pages, each with some 20 events in a row: far from a random sample."""


async def test_a_large_log_is_told_from_a_sample_that_sums_up(postgres: Postgres) -> None:
    database = await fresh_database(postgres)
    async with (
        PostgresEventStore(database.log_dsn) as store,
        PostgresPool(database.log_dsn) as pool,
    ):
        await fill(store, EVENTS, topics=500)
        exact = await PostgresLogSizing(pool).sizes()
        sampled = await PostgresLogSizing(pool, counted_max=COUNTED_MAX).sizes()
    assert sum(exact.events_of_kind.values()) == EVENTS
    assert abs(sum(sampled.events_of_kind.values()) - EVENTS) <= len(sampled.events_of_kind)
    kind = "flow.enabled.v1"
    assert exact.events_of_kind[kind] > EVENTS / 3
    error = sampled.events_of_kind[kind] / exact.events_of_kind[kind] - 1
    assert abs(error) < SHARE_ERROR_MAX
    assert {"events", "streams", "seals", "commands", "snapshots"} <= exact.bytes_of_table.keys()
