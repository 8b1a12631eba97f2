"""`log.bytes_per_event`: what an event of a believable cluster takes on disk, with its indexes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
from devstack import Postgres
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.ports.event_store import Append

from tests.bench.measurement import Measurement, measured
from tests.support.long_log import cluster
from tests.support.registry import fresh_database

EVENTS = 100_000
COMMANDS_PER_BATCH = 32
"""As under 32 clients: what a seal and its WAL cost an event depends on it."""
BUDGET_BYTES = 450.0

PAYLOAD = """
SELECT sum(octet_length(data)) AS data, sum(octet_length(metadata)) AS metadata, count(*) AS events
FROM log.events
"""
PARTITIONS = """
SELECT pg_table_size(c.oid) AS heap, pg_total_relation_size(c.oid) - pg_table_size(c.oid) AS indexes
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'log.events'::regclass
"""


async def measure() -> Measurement:
    """Append a log of flows that change, then ask for the sizes of its tables."""
    postgres = Postgres()
    await postgres.start()
    try:
        database = await fresh_database(postgres)
        connection = await asyncpg.connect(database.owner_dsn)
        try:
            wal_begin = await connection.fetchval("SELECT pg_current_wal_lsn()")
            async with PostgresEventStore(database.log_dsn) as store:
                await _fill(store)
            wal_bytes = await connection.fetchval(
                "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1)", wal_begin
            )
            return await _of_sizes(connection, float(wal_bytes))
        finally:
            await connection.close()
    finally:
        await postgres.stop()


async def _fill(store: PostgresEventStore) -> None:
    batch: dict[str, Append] = {}
    for command in cluster(EVENTS):
        if command.stream_id in batch or len(batch) == COMMANDS_PER_BATCH:
            await store.append(list(batch.values()))
            batch = {}
        batch[command.stream_id] = command
    await store.append(list(batch.values()))


async def _of_sizes(connection: asyncpg.Connection[Any], wal_bytes: float) -> Measurement:
    payload = await connection.fetchrow(PAYLOAD)
    parts: Sequence[Any] = await connection.fetch(PARTITIONS)
    assert payload is not None
    events = payload["events"]
    heap, indexes = (sum(part[kind] for part in parts) for kind in ("heap", "indexes"))
    beside = {
        f"{table}, bytes an event": round(await _size(connection, f"log.{table}") / events, 1)
        for table in ("commands", "seals", "streams", "claims")
    }
    return measured(
        "log.bytes_per_event",
        [(heap + indexes) / events],
        unit="bytes",
        reference="the budget",
        reference_values=[BUDGET_BYTES],
        packages=["asyncpg"],
        notes={
            "events": events,
            "data, bytes an event": round(payload["data"] / events, 1),
            "metadata, bytes an event": round(payload["metadata"] / events, 1),
            "heap, bytes an event": round(heap / events, 1),
            "indexes, bytes an event": round(indexes / events, 1),
            **beside,
            "WAL of everything, bytes an event": round(wal_bytes / events, 1),
            "commands a batch": COMMANDS_PER_BATCH,
        },
    )


async def _size(connection: asyncpg.Connection[Any], table: str) -> int:
    return int(await connection.fetchval("SELECT pg_total_relation_size($1::regclass)", table))
