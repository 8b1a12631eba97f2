"""The suite runs against every adapter of `BackwardReads`, each over a log of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from devstack import Postgres
from registry.adapters.memory_backward_reads import MemoryBackwardReads
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.postgres_backward_reads import PostgresBackwardReads
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_pool import PostgresPool
from registry.ports.backward_reads import BackwardReads
from registry.ports.event_store import EventStore, NewEvent

from tests.support.registry import append_of, fresh_database


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The reads and the log that they are of."""

    store: EventStore
    reads: BackwardReads

    async def add(self, category: str, *sizes_bytes: int) -> str:
        """A stream of this category with events of these sizes; its id."""
        metadata = b"12345678"
        events = tuple(
            NewEvent(name=f"{category}.created.v1", data=b"d" * (size - len(metadata)))
            for size in sizes_bytes
        )
        command = replace(append_of(), category=category, metadata=metadata, events=events)
        await self.store.append([command])
        return command.stream_id


@pytest.fixture(params=["memory", "postgres"])
async def told(request: pytest.FixtureRequest, postgres: Postgres) -> AsyncIterator[Told]:
    """An empty log."""
    if request.param == "memory":
        store = MemoryEventStore()
        yield Told(store=store, reads=MemoryBackwardReads(store))
        return
    database = await fresh_database(postgres)
    async with (
        PostgresEventStore(database.log_dsn) as postgres_store,
        PostgresPool(database.log_dsn) as pool,
    ):
        yield Told(store=postgres_store, reads=PostgresBackwardReads(pool))
