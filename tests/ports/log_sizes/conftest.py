"""The suite runs against every adapter of `LogSizing`, each over a log of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from devstack import Postgres
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.memory_log_sizes import MemoryLogSizing
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_log_sizes import PostgresLogSizing
from registry.adapters.postgres_pool import PostgresPool
from registry.ports.event_store import EventStore
from registry.ports.log_sizes import LogSizing

from tests.support.registry import fresh_database


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The sizes and the log that they are of."""

    store: EventStore
    sizing: LogSizing


@pytest.fixture(params=["memory", "postgres"])
async def told(request: pytest.FixtureRequest, postgres: Postgres) -> AsyncIterator[Told]:
    """An empty log."""
    if request.param == "memory":
        store = MemoryEventStore()
        yield Told(store=store, sizing=MemoryLogSizing(store))
        return
    database = await fresh_database(postgres)
    async with (
        PostgresEventStore(database.log_dsn) as postgres_store,
        PostgresPool(database.log_dsn) as pool,
    ):
        yield Told(store=postgres_store, sizing=PostgresLogSizing(pool))
