"""Watches the log from outside: is there room ahead of it, and where does it end?

Partitions are made inside the append that comes near the end of the last one; should that ever fail
to happen, this says so long before the log is full. And it writes the head of the log into this
process's own log, regularly: the one thing that shows a chain which was rewritten whole.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from kernel.errors import EventflowsError

from registry.application.log_head import LogHead
from registry.application.metrics import RegistryMetrics
from registry.ports.archive import LogParts
from registry.ports.event_store import EventStore

EVERY_S: Final = 300.0
EVERY_EVENTS: Final = 10_000
ROOM_SHARE_MIN: Final = 0.5
"""Of a partition: below it the next one is overdue."""
LAST_TIMEOUT_S: Final = 2.0

_log = logging.getLogger(__name__)


class LogWitness:
    """Notes the head and looks at the room: at the start, at the end, and every EVERY_S or
    EVERY_EVENTS."""

    def __init__(
        self,
        *,
        store: EventStore,
        parts: LogParts,
        head: LogHead,
        metrics: RegistryMetrics,
        every_s: float = EVERY_S,
        every_events: int = EVERY_EVENTS,
    ) -> None:
        self._store = store
        self._parts = parts
        self._head = head
        self._metrics = metrics
        self._every_s = every_s
        self._every_events = every_events

    async def run(self) -> None:
        """Until the head is closed. While the log is out of reach there is nothing to note."""
        while not self._head.closed:
            position = self._head.position
            try:
                position = await self.note_head()
                await self.look_at_room()
            except EventflowsError as error:
                _log.warning("the head of the log is not noted", extra={"why": str(error)})
            await self._head.beyond(position + self._every_events - 1, timeout_s=self._every_s)

    async def at_stop(self) -> None:
        """Note the head for the last time, if the log can be reached at once."""
        try:
            async with asyncio.timeout(LAST_TIMEOUT_S):
                await self.note_head()
        except (EventflowsError, TimeoutError) as error:
            _log.warning("the head of the log is not noted", extra={"why": str(error)})

    async def note_head(self) -> int:
        """Log position and hash of the head; the position."""
        head = await self._store.head()
        _log.info("head of the log", extra={"position": head.position, "hash": head.hash.hex()})
        return head.position

    async def look_at_room(self) -> bool:
        """Measure the room ahead of the log; False, with an alarm, when it is too small."""
        room = await self._parts.room()
        ahead = room.covered_to - room.head_position
        self._metrics.partition_room.set(ahead)
        if ahead >= room.partition_size * ROOM_SHARE_MIN:
            return True
        _log.error(
            "the log comes near the end of its partitions and the next one is not there: "
            "is log.add_partition failing?",
            extra={"position": room.head_position, "covered_to": room.covered_to},
        )
        return False
