"""Takes snapshots of the catalog as the log grows, so that nobody replays more than a little.

    waiting ──EVERY_EVENTS after the newest one──▶ taking ──kept, older ones forgotten──▶ waiting

Any number of processes may do it: they look at what is kept first, and two that take the same one
write the same. The event loop stands still only while the catalog is copied (`Catalog.image`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from catalog import snapshot
from kernel.errors import EventflowsError

from registry.application.log_head import LogHead
from registry.application.projection import Projection
from registry.ports.event_store import EventStore
from registry.ports.snapshots import Snapshots

EVERY_EVENTS: Final = 50_000
AT_STOP_EVENTS_MIN: Final = 5_000
"""A clean stop leaves a snapshot when at least so many events follow the newest one."""
KEPT: Final = 2
LOOK_AGAIN_S: Final = 60.0
RETRY_S: Final = 1.0
FAILED_RETRY_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0

_log = logging.getLogger(__name__)


class Snapshotter:
    """Feeds `Snapshots` from the projection's catalog."""

    def __init__(
        self,
        *,
        store: EventStore,
        snapshots: Snapshots,
        projection: Projection,
        head: LogHead,
        every_events: int | None = None,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._projection = projection
        self._head = head
        self._every_events = EVERY_EVENTS if every_events is None else every_events

    async def run(self) -> None:
        """Until the head is closed. What fails is tried again: a missing snapshot costs no data."""
        while not self._head.closed:
            pause_s = 0.0
            try:
                due = await self._newest_position() + self._every_events
                if await self._head.beyond(due - 1, timeout_s=LOOK_AGAIN_S):
                    await self._projection.reach(due)
                    pause_s = 0.0 if await self.take() else RETRY_S
            except EventflowsError as error:
                _log.warning("no snapshot now", extra={"why": str(error)})
                pause_s = FAILED_RETRY_S
            if not self._head.closed:
                await asyncio.sleep(pause_s)

    async def take(self) -> bool:
        """Keep the catalog as it is now; False when it stands in the middle of a batch.

        True as well when another process has kept it already. Raises what `Snapshots` raises.
        """
        image = self._projection.catalog.image()
        seals = await self._store.seals(image.position - 1, limit=1)
        if not seals or seals[0].last_position != image.position:
            return False
        parts = await asyncio.to_thread(lambda: list(snapshot.dump_image(image)))
        kept = await self._snapshots.put(
            position=image.position, fold=snapshot.FOLD, seal_hash=seals[0].hash, parts=parts
        )
        gone = await self._snapshots.keep(fold=snapshot.FOLD, newest=KEPT)
        _log.info(
            "took a snapshot",
            extra={
                "position": image.position,
                "size_bytes": sum(map(len, parts)),
                "kept": kept,
                "forgotten": gone,
            },
        )
        return True

    async def at_stop(self) -> None:
        """Take a last one if it is worth the time, at most STOP_TIMEOUT_S of it. Never raises."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                behind = self._projection.catalog.position - await self._newest_position()
                if behind >= min(AT_STOP_EVENTS_MIN, self._every_events):
                    await self.take()
        except (EventflowsError, TimeoutError) as error:
            _log.warning("no snapshot at the stop", extra={"why": str(error)})

    async def _newest_position(self) -> int:
        newest = await self._snapshots.newest(fold=snapshot.FOLD)
        return 0 if newest is None else newest.position
