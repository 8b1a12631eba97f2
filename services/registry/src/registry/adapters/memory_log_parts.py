"""The parts of a log in memory: one that has room and was never archived. For unit tests."""

from __future__ import annotations

from registry.ports.archive import ArchivedPartition, Room, StreamState
from registry.ports.event_store import EventStore

PARTITION_SIZE = 1_000_000


class MemoryLogParts:
    """`LogParts` over any store."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def room(self) -> Room:
        head = await self._store.head()
        covered_to = head.position + PARTITION_SIZE
        return Room(
            head_position=head.position, covered_to=covered_to, partition_size=PARTITION_SIZE
        )

    async def archived(self) -> ArchivedPartition | None:
        return None

    async def state_of(self, stream_id: str) -> StreamState | None:
        return None
