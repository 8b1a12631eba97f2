"""What one registry process appends with, over any store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from registry.application.group_commit import GroupCommit
from registry.application.metrics import RegistryMetrics
from registry.ports.event_store import EventStore


@asynccontextmanager
async def group_commit_over(store: EventStore) -> AsyncIterator[GroupCommit]:
    """A group commit that runs inside."""
    metrics = RegistryMetrics(CollectorRegistry())
    group_commit = GroupCommit(store, metrics=metrics, stored=lambda _position: None)
    running = asyncio.create_task(group_commit.run())
    try:
        yield group_commit
    finally:
        running.cancel()
        await asyncio.wait({running})
