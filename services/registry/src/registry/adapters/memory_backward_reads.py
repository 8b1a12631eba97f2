"""A log in memory, backwards. For unit tests."""

from __future__ import annotations

from registry.ports.event_store import (
    BATCH_BYTES_MAX,
    EventStore,
    SelectedPage,
    Selection,
    StoredEvent,
)


class MemoryBackwardReads:
    """`BackwardReads` over any store that holds its log in memory."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def read_back(
        self,
        to: int,
        *,
        after: int,
        selection: Selection | None,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
    ) -> SelectedPage:
        page: list[StoredEvent] = []
        size_bytes = 0
        for position in range(to, after, -1):
            (event,) = await self._store.read(position - 1, limit=1)
            if selection is not None and not selection.holds(event):
                continue
            size_bytes += len(event.data) + len(event.metadata)
            if page and (size_bytes > bytes_max or len(page) == limit):
                return SelectedPage(covered_position=page[-1].position, events=page)
            page.append(event)
        return SelectedPage(covered_position=after + 1, events=page)
