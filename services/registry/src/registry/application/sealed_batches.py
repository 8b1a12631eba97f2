"""The log batch by batch: each seal with its events, read in pages across batches.

Who walks along the log hashes on the event loop that serves: so it lets others run every few
milliseconds, and a watcher does not feel a verification.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from registry.ports.event_store import EventStore, Seal, StoredEvent

SEALS_PER_PAGE_MAX = 1_000
EVENTS_PER_PAGE_MAX = 1_000
EVENTS_PER_TURN_MAX = 100
"""Then others run: about 3 ms of hashing."""


class SealedEvents:
    """The events of the log after a position in order, as they are stored."""

    def __init__(self, store: EventStore, after: int) -> None:
        self._store = store
        self._position = after
        self._page: Sequence[StoredEvent] = ()
        self._next = 0

    async def up_to(self, last_position: int) -> AsyncIterator[StoredEvent]:
        """Those that follow, up to this position."""
        while True:
            at_end = self._next == len(self._page)
            if at_end and (self._position >= last_position or not await self._read()):
                return
            event = self._page[self._next]
            if event.position > last_position:
                return
            self._next += 1
            if self._next % EVENTS_PER_TURN_MAX == 0:
                await asyncio.sleep(0)
            yield event

    async def _read(self) -> bool:
        self._page = await self._store.read(
            self._position, limit=EVENTS_PER_PAGE_MAX, as_stored=True
        )
        self._next = 0
        if self._page:
            self._position = self._page[-1].position
        return bool(self._page)


async def seals_between(store: EventStore, after: int, to: int) -> AsyncIterator[Seal]:
    """The seals that end after a position and up to another."""
    position = after
    while position < to:
        page = await store.seals(position, limit=SEALS_PER_PAGE_MAX)
        for seal in page:
            if seal.last_position > to:
                return
            yield seal
        if not page:
            return
        position = page[-1].last_position
