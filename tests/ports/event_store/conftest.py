"""The suite runs against every adapter of `EventStore`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from devstack import Postgres
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.ports.event_store import EventStore

from tests.support.registry import fresh_database


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, postgres: Postgres) -> AsyncIterator[EventStore]:
    """An empty log."""
    if request.param == "memory":
        yield MemoryEventStore()
        return
    database = await fresh_database(postgres)
    async with PostgresEventStore(database.log_dsn) as store:
        yield store
