"""The registry's own catalog, kept equal to the log. Checks across aggregates look into it."""

from __future__ import annotations

import asyncio
import logging
import random

from catalog import codec
from catalog.catalog import Catalog
from catalog.errors import UnknownEvent
from catalog.events import RecordedEvent
from catalog.metadata import metadata_of
from eventflows.events.v1 import events_pb2
from kernel.backoff import delay_s
from kernel.errors import Unavailable

from registry.application.log_head import LogHead
from registry.application.log_pages import PAGE_EVENTS_MAX, LogPages
from registry.application.snapshots import newest_image
from registry.ports.event_store import EventStore, StoredEvent
from registry.ports.snapshots import Snapshots

IDLE_S = 60.0
BACKOFF_FIRST_S = 0.05
BACKOFF_LONGEST_S = 1.0

_log = logging.getLogger(__name__)


class Projection:
    """A `Catalog` fed from the store. One task at a time feeds it."""

    def __init__(
        self, store: EventStore, head: LogHead, snapshots: Snapshots, pages: LogPages
    ) -> None:
        self.catalog = Catalog()
        self._store = store
        self._pages = pages
        self._snapshots = snapshots
        self._head = head
        self._feeding = asyncio.Lock()

    async def begin(self) -> None:
        """Read the newest snapshot that fits, if there is one, then the log up to its end.

        Called once, before anything else. Raises Unavailable.
        """
        image = await newest_image(self._snapshots, for_good=True)
        if image is not None:
            self.catalog.begin_with(image)
            _log.info("began with a snapshot", extra={"position": self.catalog.position})
        await self.reach_head()

    async def reach(self, position: int) -> None:
        """Return when the catalog holds everything up to `position`. Raises Unavailable."""
        while self.catalog.position < position:
            async with self._feeding:
                if self.catalog.position < position:
                    await self._feed(position)

    async def reach_head(self) -> None:
        """Return when the catalog holds everything that the log held at the call."""
        await self.reach((await self._store.head()).position)

    async def run(self) -> None:
        """Follow the log until the head is closed."""
        failures = 0
        while not self._head.closed:
            await self._head.beyond(self.catalog.position, timeout_s=IDLE_S)
            try:
                await self.reach(self._head.position)
                failures = 0
            except Unavailable as error:
                failures += 1
                _log.warning("the catalog stands still", extra={"why": str(error)})
                await asyncio.sleep(
                    delay_s(
                        failures, first_s=BACKOFF_FIRST_S, longest_s=BACKOFF_LONGEST_S,
                        random=random.random,
                    )
                )  # fmt: skip

    async def _feed(self, to: int) -> None:
        """One page; of the newest events the one that the watchers read at the same moment."""
        after = self.catalog.position
        if to - after > PAGE_EVENTS_MAX:
            page = await self._store.read(after, limit=PAGE_EVENTS_MAX)
        else:
            page = (await self._pages.after(after)).events
        for stored in page:
            self.catalog.apply(recorded(stored))


def recorded(stored: StoredEvent) -> RecordedEvent:
    """The row as domain code sees it. Raises UnknownEvent for a kind of a newer build."""
    try:
        event = codec.decode(stored.data)
    except ValueError as error:
        raise UnknownEvent(
            f"event {stored.position} ({stored.name}) is of a newer build: upgrade this registry"
        ) from error
    return RecordedEvent(
        position=stored.position,
        stream_id=stored.stream_id,
        version=stored.version,
        time=stored.time,
        metadata=metadata_of(events_pb2.Metadata.FromString(stored.metadata)),
        event=event,
    )
