"""The suite runs against every adapter of `EventStore`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from devstack import Postgres
from registry.adapters import log_reads
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.ports.event_store import EventStore

from tests.support.registry import fresh_database


@pytest.fixture(params=["memory", "postgres", "postgres, selections by stream"])
async def store(
    request: pytest.FixtureRequest, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EventStore]:
    """An empty log."""
    if request.param == "memory":
        yield MemoryEventStore()
        return
    if request.param != "postgres":  # as if every stretch of the log were long
        monkeypatch.setattr(log_reads, "NEAR_POSITIONS", 0)
    database = await fresh_database(postgres)
    async with PostgresEventStore(database.log_dsn) as store:
        yield store
