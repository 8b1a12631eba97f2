"""The suite runs against every adapter of `Timeline`, each over a log of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from devstack import Postgres
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.memory_timeline import MemoryTimeline
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.postgres_timeline import PostgresTimeline
from registry.ports.event_store import EventStore, Seal
from registry.ports.timeline import Timeline

from tests.support.registry import append_of, fresh_database


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A timeline and the log that it is of."""

    store: EventStore
    timeline: Timeline

    async def sealed(self, events: int = 1) -> Seal:
        """One more batch of events in the log; its seal."""
        before = (await self.store.head()).position
        await self.store.append([append_of(events)])
        (seal,) = await self.store.seals(before, limit=1)
        return seal


@pytest.fixture(params=["memory", "postgres"])
async def told(request: pytest.FixtureRequest, postgres: Postgres) -> AsyncIterator[Told]:
    """An empty log."""
    if request.param == "memory":
        store = MemoryEventStore()
        yield Told(store=store, timeline=MemoryTimeline(store))
        return
    database = await fresh_database(postgres)
    async with (
        PostgresEventStore(database.log_dsn) as postgres_store,
        PostgresPool(database.log_dsn) as pool,
    ):
        yield Told(store=postgres_store, timeline=PostgresTimeline(pool))
