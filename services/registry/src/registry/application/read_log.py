"""One page of the log's events, oldest or newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kernel.errors import InvalidInput, NotFound

from registry.ports.backward_reads import BackwardReads
from registry.ports.event_store import Archived, EventStore, SelectedPage, Selection, StoredEvent
from registry.ports.timeline import Timeline

PAGE_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of data and metadata, unless one event has more; half of what a message may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The events after `after` and up to `to` (0: the head), at most `limit`."""

    after: int = 0
    to: int = 0
    limit: int
    newest_first: bool = False
    selection: Selection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """All events asked for up to `covered` (newest first: down to it, from `to`)."""

    events: Sequence[StoredEvent]
    head: int
    covered: int


class LogReading:
    """Answers queries of the log. Any number at the same time."""

    def __init__(self, *, store: EventStore, backward: BackwardReads, timeline: Timeline) -> None:
        self._store = store
        self._backward = backward
        self._timeline = timeline

    async def page(self, query: Query) -> LogPage:
        """Raises InvalidInput, NotFound beyond the head, Archived, Unavailable."""
        head = (await self._store.head()).position
        to = _checked(query, head)
        if query.after == to:
            covered = to + 1 if query.newest_first else to
            return LogPage(events=(), head=head, covered=covered)
        page = await (self._newest if query.newest_first else self._oldest)(query, to)
        return LogPage(events=page.events, head=head, covered=page.covered_position)

    async def _newest(self, query: Query, to: int) -> SelectedPage:
        return await self._backward.read_back(
            to,
            after=query.after,
            selection=query.selection,
            limit=query.limit,
            bytes_max=PAGE_BYTES_MAX,
        )

    async def _oldest(self, query: Query, to: int) -> SelectedPage:
        if query.selection is None:
            limit = min(query.limit, to - query.after)
            events = await self._store.read(query.after, limit=limit, bytes_max=PAGE_BYTES_MAX)
            covered = events[-1].position if events else query.after
            return SelectedPage(covered_position=covered, events=events)
        first = await self._timeline.first_position()
        if query.after < first - 1:
            raise Archived(first - 1)
        return await self._store.read_selected(
            query.after,
            to=to,
            selection=query.selection,
            limit=query.limit,
            bytes_max=PAGE_BYTES_MAX,
        )


def _checked(query: Query, head: int) -> int:
    """The position to read up to. Raises InvalidInput, NotFound."""
    if query.after < 0 or query.to < 0:
        raise InvalidInput("after_position and to_position must be 0 or more")
    if max(query.after, query.to) > head:
        raise NotFound(
            f"the log ends at position {head}: name one up to that, or leave to_position out"
        )
    to = query.to or head
    if query.after > to:
        raise InvalidInput(f"after_position {query.after} is behind to_position {to}: swap them")
    return to
