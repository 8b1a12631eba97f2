"""Pages of the log: what many readers of a process stand before is read and encoded once.

Watchers and the process's own catalog ask for the same few rows at the same moment. The first to
ask reads for all, and the newest stretches are kept for those that come a little later; a stretch
of an append-only log is right for ever. Price: KEPT_BYTES_MAX of memory a process (about three
times that with Python's own).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kernel.errors import EventflowsError, Unavailable

from registry.ports.event_store import EventStore, Selection, StoredEvent

PAGE_EVENTS_MAX = 1_000
PAGE_BYTES_MAX = 256 * 1024
KEPT_BYTES_MAX = 8 * 1024 * 1024
KEPT_STRETCHES_MAX = 1_000

Encode = Callable[[Sequence[StoredEvent]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Positions (from..to] with the events of them that were asked for, also encoded."""

    from_position: int
    to_position: int
    events: Sequence[StoredEvent] = ()
    encoded: bytes = b""


class LogPages:
    """Reads for all. `encode` turns events into bytes that can be joined."""

    def __init__(self, store: EventStore, *, encode: Encode) -> None:
        self._store = store
        self._encode = encode
        self._reading: dict[int, asyncio.Task[Stretch]] = {}
        self._kept: OrderedDict[int, Stretch] = OrderedDict()
        self._kept_bytes = 0

    async def head(self) -> int:
        """The last position, asked of the store."""
        return (await self._store.head()).position

    async def after(self, position: int) -> Stretch:
        """Everything after a position that the log has reached beyond, at most a page.

        Raises Unavailable, Archived, and EventflowsError for a log with a hole.
        """
        if known := self._known(position):
            return _joined(known)
        reading = self._reading.get(position)
        if reading is None:
            reading = asyncio.create_task(self._read(position), name=f"page after {position}")
            reading.add_done_callback(_taken_note_of)
            self._reading[position] = reading
        return await asyncio.shield(reading)  # a watcher that leaves takes nothing from the others

    async def selected(self, position: int, *, to: int, selection: Selection) -> Stretch:
        """The selected events after a position and up to `to`, at most a page; errors as above.

        Far behind the end of the log the store leaves out what is not selected; close to it the
        stretch that all others read is taken, and the rest left out here.
        """
        if to - position <= PAGE_EVENTS_MAX:
            everything = await self.after(position)
            events = [event for event in everything.events if selection.holds(event)]
            to_position = everything.to_position
        else:
            page = await self._store.read_selected(
                position, to=to, selection=selection,
                limit=PAGE_EVENTS_MAX, bytes_max=PAGE_BYTES_MAX,
            )  # fmt: skip
            events, to_position = list(page.events), page.covered_position
        return Stretch(
            from_position=position,
            to_position=to_position,
            events=events,
            encoded=self._encode(events),
        )

    def _known(self, position: int) -> list[Stretch]:
        """Kept stretches behind each other, together at most a page."""
        found: list[Stretch] = []
        events = size_bytes = 0
        while (stretch := self._kept.get(position)) is not None:
            events += len(stretch.events)
            size_bytes += len(stretch.encoded)
            if found and (events > PAGE_EVENTS_MAX or size_bytes > PAGE_BYTES_MAX):
                break
            found.append(stretch)
            position = stretch.to_position
        return found

    async def _read(self, position: int) -> Stretch:
        try:
            events = await self._store.read(
                position, limit=PAGE_EVENTS_MAX, bytes_max=PAGE_BYTES_MAX
            )
            if not events:
                raise Unavailable(
                    "the log is shorter than it was: was a backup restored? restart the registry"
                )
            if events[0].position != position + 1:
                raise EventflowsError(f"the log has a hole after position {position}: verify it")
            stretch = Stretch(
                from_position=position,
                to_position=events[-1].position,
                events=events,
                encoded=self._encode(events),
            )
            self._keep(stretch)
            return stretch
        finally:
            del self._reading[position]

    def _keep(self, stretch: Stretch) -> None:
        self._kept[stretch.from_position] = stretch
        self._kept_bytes += len(stretch.encoded)
        while self._kept_bytes > KEPT_BYTES_MAX or len(self._kept) > KEPT_STRETCHES_MAX:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.encoded)


def _joined(stretches: Sequence[Stretch]) -> Stretch:
    if len(stretches) == 1:
        return stretches[0]
    return Stretch(
        from_position=stretches[0].from_position,
        to_position=stretches[-1].to_position,
        events=[event for stretch in stretches for event in stretch.events],
        encoded=b"".join(stretch.encoded for stretch in stretches),
    )


def _taken_note_of(reading: asyncio.Task[Stretch]) -> None:
    """A failure is told to those who wait; when all have left it is nobody's."""
    if not reading.cancelled():
        reading.exception()
