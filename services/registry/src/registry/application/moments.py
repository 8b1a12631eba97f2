"""Reads as of a moment: what a position or a time means, and the catalog as it was then.

The same question has one answer for ever: a moment is a position of the log, and the log does not
change. A catalog of the past is the nearest snapshot below it and the events in between; at most
BUILT_AT_ONCE_MAX are built at a time, and the last KEPT_MAX are kept, so that the pages of a list
cost one build.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from catalog.catalog import Catalog
from kernel.errors import EventflowsError, InvalidInput, Overloaded, TimedOut

from registry.application.log_pages import PAGE_EVENTS_MAX
from registry.application.projection import Projection, recorded
from registry.application.snapshots import newest_image
from registry.ports.event_store import Archived, EventStore, StoredEvent
from registry.ports.snapshots import Snapshots
from registry.ports.timeline import Timeline

AsOf: TypeAlias = int | datetime | None
"""A position, a time (aware), or None: now."""

BUILT_AT_ONCE_MAX: Final = 2
WAITING_MAX: Final = 16
"""Catalogs that are built or wait to be, each of another moment."""
WAIT_S: Final = 5.0
"""For one of the places; then Overloaded."""
BUILD_TIMEOUT_S: Final = 60.0
RETRY_AFTER_S: Final = 2.0
KEPT_MAX: Final = 2
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A position of the log; `time` is that of the seal that holds it (1970 for position 0)."""

    position: int
    time: datetime


class Moments:
    """Resolves moments and gives catalogs of the past. Any number of calls at once."""

    def __init__(
        self,
        *,
        store: EventStore,
        timeline: Timeline,
        snapshots: Snapshots,
        projection: Projection,
        wait_s: float = WAIT_S,
    ) -> None:
        self._store = store
        self._timeline = timeline
        self._snapshots = snapshots
        self._projection = projection
        self._wait_s = wait_s
        self._places = asyncio.Semaphore(BUILT_AT_ONCE_MAX)
        self._building: dict[int, asyncio.Task[Catalog]] = {}
        self._kept: OrderedDict[int, Catalog] = OrderedDict()

    async def resolve(self, as_of: AsOf) -> Moment:
        """What the words mean. None is the head at the call.

        Raises InvalidInput for a position or a time that the log does not have (yet), Archived for
        one below its first event, Unavailable.
        """
        match as_of:
            case None:
                head = await self._store.head()
                return Moment(position=head.position, time=head.time)
            case datetime():
                moment = await self._at_time(as_of)
            case _:
                moment = await self._at_position(as_of)
        first = await self._timeline.first_position()
        if moment.position < first - 1:
            raise Archived(first - 1)
        return moment

    async def catalog_at(self, moment: Moment) -> Catalog:
        """The catalog as it was. Shared with other callers: read it, never `apply` to it.

        Raises Overloaded when too many others are being built, Archived when events that it needs
        are in the archive, TimedOut, Unavailable. A caller that is cancelled disturbs no other.
        """
        position = moment.position
        kept = self._kept.get(position)
        if kept is not None:
            self._kept.move_to_end(position)
            return kept
        building = self._building.get(position)
        if building is None:
            if len(self._building) >= WAITING_MAX:
                raise _overloaded()
            building = asyncio.create_task(self._build(position), name=f"catalog at {position}")
            self._building[position] = building
            building.add_done_callback(lambda done: self._built(position, done))
        return await asyncio.shield(building)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One of the places of those who build catalogs, for other work of that size.

        Not to be held while a catalog is asked for. Raises Overloaded.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        except TimeoutError as error:
            raise _overloaded() from error
        try:
            yield
        finally:
            self._places.release()

    async def close(self) -> None:
        """Stop what is being built; those who wait for it are cancelled. May come twice."""
        building = list(self._building.values())
        for task in building:
            task.cancel()
        if building:
            await asyncio.wait(building)

    # ---- what the words mean -------------------------------------------------------------------

    async def _at_position(self, position: int) -> Moment:
        if position < 0:
            raise InvalidInput("a position is 0 or more: name one of the log")
        if position == 0:
            return Moment(position=0, time=_EPOCH)
        seal = await self._timeline.seal_of(position)
        if seal is None:
            head = await self._store.head()
            raise InvalidInput(
                f"the log ends at {head.position}: name a position up to that, not {position}"
            )
        return Moment(position=position, time=seal.time)

    async def _at_time(self, time: datetime) -> Moment:
        if time.tzinfo is None:
            raise InvalidInput(f"{time.isoformat()} has no zone: add Z or an offset")
        found = await self._timeline.seal_at(time)
        if found.seal is not None:
            return Moment(position=found.seal.last_position, time=found.seal.time)
        if time >= found.clock:
            raise InvalidInput(
                f"{time.isoformat()} is not past yet, it is {found.clock.isoformat()} by the log's "
                "clock: leave the time out to read what is now"
            )
        begin = await self._timeline.seal_of(1)
        if begin is None:
            raise InvalidInput("the log is empty: there is no time to read it as of")
        raise InvalidInput(
            f"{time.isoformat()} is before the log begins, at {begin.time.isoformat()}: "
            "name a later time"
        )

    # ---- catalogs of the past ------------------------------------------------------------------

    async def _build(self, position: int) -> Catalog:
        async with self.place():
            try:
                async with asyncio.timeout(BUILD_TIMEOUT_S):
                    return await self._replayed(await self._base(position), position)
            except TimeoutError as error:
                raise TimedOut(
                    f"the catalog at position {position} could not be built within "
                    f"{BUILD_TIMEOUT_S:g} s: try again later"
                ) from error

    async def _base(self, position: int) -> Catalog:
        """A catalog of its own at or below the position, as near as one can be had."""
        current = self._projection.catalog
        if current.position <= position:
            # A copy: the projection's own catalog goes on with the log.
            return await asyncio.to_thread(Catalog.of, current.image())
        image = await newest_image(self._snapshots, at_most=position)
        return Catalog() if image is None else await asyncio.to_thread(Catalog.of, image)

    async def _replayed(self, catalog: Catalog, position: int) -> Catalog:
        while (at := catalog.position) < position:
            page = await self._store.read(at, limit=min(PAGE_EVENTS_MAX, position - at))
            if not page or page[0].position != at + 1:
                raise EventflowsError(f"the log has a hole at position {at + 1}: verify it")
            await asyncio.to_thread(_apply, catalog, page)
        return catalog

    def _built(self, position: int, done: asyncio.Task[Catalog]) -> None:
        del self._building[position]
        if done.cancelled() or done.exception() is not None:
            return
        self._kept[position] = done.result()
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)


def _apply(catalog: Catalog, page: Sequence[StoredEvent]) -> None:
    for stored in page:
        catalog.apply(recorded(stored))


def _overloaded() -> Overloaded:
    return Overloaded(
        "too many catalogs of the past are being built: try again", retry_after_s=RETRY_AFTER_S
    )
