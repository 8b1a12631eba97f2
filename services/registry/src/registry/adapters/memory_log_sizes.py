"""How much a log in memory holds. For unit tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

from registry.ports.event_store import READ_EVENTS_MAX, EventStore, StoredEvent
from registry.ports.log_sizes import LogSizes

POSITION_MAX = 2**63 - 1


class MemoryLogSizing:
    """`LogSizing` over any store; commands are counted as batches, all the same in memory."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def sizes(self) -> LogSizes:
        kinds: Counter[str] = Counter()
        categories: dict[str, str] = {}
        commands: set[bytes] = set()
        size_bytes = 0
        async for event in self._events():
            kinds[event.name] += 1
            categories[event.stream_id] = event.category
            commands.add(event.metadata)
            size_bytes += len(event.data) + len(event.metadata)
        head = await self._store.head()
        return LogSizes(
            seals=len(await self._store.seals(0, limit=head.position + 1)),
            commands=len(commands),
            events_of_kind=kinds,
            streams_of_category=Counter(categories.values()),
            bytes_of_table={"events": size_bytes},
            covered_to_position=POSITION_MAX,
        )

    async def _events(self) -> AsyncIterator[StoredEvent]:
        position = 0
        while page := await self._store.read(position, limit=READ_EVENTS_MAX):
            for event in page:
                yield event
            position = page[-1].position
