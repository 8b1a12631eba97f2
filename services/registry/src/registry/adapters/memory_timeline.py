"""The line of time of a log in memory. For unit tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from registry.ports.event_store import READ_EVENTS_MAX, EventStore, Seal
from registry.ports.timeline import SealAtTime


class MemoryTimeline:
    """`Timeline` over any store whose appends are over at once. `clock` is the store's own.

    What was asked for is not kept: a clock that is set back past it would change the answer.
    """

    def __init__(
        self, store: EventStore, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._clock = clock

    async def seal_at(self, time: datetime) -> SealAtTime:
        clock = self._clock()
        if time >= clock and time > (await self._store.head()).time:
            return SealAtTime(seal=None, clock=clock)
        found, position = None, 0
        while page := await self._page(position):
            before = [seal for seal in page if seal.time <= time]
            found = before[-1] if before else found
            if len(before) < len(page):
                break
            position = page[-1].last_position
        return SealAtTime(seal=found, clock=clock)

    async def seal_of(self, position: int) -> Seal | None:
        page = await self._store.seals(position - 1, limit=1)
        return page[0] if page and page[0].first_position <= position else None

    async def first_position(self) -> int:
        page = await self._store.read(0, limit=1)
        return page[0].position if page else (await self._store.head()).position + 1

    async def _page(self, position: int) -> list[Seal]:
        return list(await self._store.seals(position, limit=READ_EVENTS_MAX))
