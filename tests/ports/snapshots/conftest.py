"""The suite runs against every adapter of `Snapshots`, each beside a log of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from devstack import Postgres
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.memory_snapshots import MemorySnapshots
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.postgres_snapshots import PostgresSnapshots
from registry.ports.event_store import EventStore, Seal
from registry.ports.snapshots import Snapshots

from tests.support.registry import append_of, fresh_database


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Snapshots and the log that they are of."""

    store: EventStore
    snapshots: Snapshots

    async def sealed(self, events: int = 2) -> Seal:
        """One more batch of events in the log; its seal."""
        before = (await self.store.head()).position
        await self.store.append([append_of(events)])
        (seal,) = await self.store.seals(before, limit=1)
        return seal


@pytest.fixture(params=["memory", "postgres"])
async def kept(request: pytest.FixtureRequest, postgres: Postgres) -> AsyncIterator[Kept]:
    """No snapshot of an empty log."""
    if request.param == "memory":
        store = MemoryEventStore()
        yield Kept(store=store, snapshots=MemorySnapshots(store))
        return
    database = await fresh_database(postgres)
    async with (
        PostgresEventStore(database.log_dsn) as postgres_store,
        PostgresPool(database.log_dsn) as pool,
    ):
        yield Kept(store=postgres_store, snapshots=PostgresSnapshots(pool))
