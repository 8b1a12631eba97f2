"""Reading events out of PostgreSQL: plain keyset pages, cut here, as fast as rows can be taken.

No window function and no join: a page is fetched by the average size of an event, names of kinds
come from memory, and the few large events of a page are fetched by a second statement. So a page
never costs more memory than its limit in bytes and 2 kB an event.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Any
from uuid import UUID

from kernel.errors import Unavailable

from registry.ports.event_store import (
    READ_EVENTS_MAX,
    Archived,
    SelectedPage,
    Selection,
    StoredEvent,
)

NEAR_POSITIONS = 20_000
"""A stretch this short is scanned before anything is asked about it: a few milliseconds."""
SCAN_POSITIONS_MAX = 500_000
"""In one statement: a fifth of a second, far below the statement timeout."""
BY_STREAM_EVENTS_MAX = 5_000
"""So many are looked up by their streams, for every page; more are found by scanning (measured)."""
SPARE_SHARE = 0.1
"""A page is fetched this much longer than the average says, so that it is seldom cut too early."""

Fetch = Callable[..., Awaitable[Sequence[Any]]]
"""Runs a statement of `log.sql` by its name; raises kernel errors only."""


class LogReads:
    """The reading half of `EventStore`."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._names: dict[int, str] = {}
        self._average_bytes = 1.0

    async def read(
        self, after: int, *, limit: int, bytes_max: int, as_stored: bool
    ) -> Sequence[StoredEvent]:
        """`EventStore.read`."""
        if as_stored:
            self._names = {}  # an altered name of a kind must be seen
        rows = await self._fetch("read", after, self._rows(limit, bytes_max))
        if rows and rows[0][0] != after + 1:
            await self._refuse_archived(after)
        sizes = [row[-1] for row in rows]
        if rows:
            self._average_bytes = sum(sizes) / len(sizes)
        return await self._events(rows[: _kept(sizes, bytes_max)])

    async def read_selected(
        self, after: int, *, to: int, selection: Selection, limit: int, bytes_max: int
    ) -> SelectedPage:
        """`EventStore.read_selected`."""
        chosen = sorted(selection.categories), [UUID(one) for one in sorted(selection.stream_ids)]
        near = min(to, after + NEAR_POSITIONS)
        if near < to:  # what is archived lies below two snapshots, far from the head
            await self._refuse_archived(after)
        page, is_full = await self._selected("by_kind", chosen, after, near, limit, bytes_max)
        if is_full or near == to:
            return page
        (row,) = await self._fetch("count_selected", *chosen, after, to)
        if row[0] <= BY_STREAM_EVENTS_MAX:
            page, _ = await self._selected("by_stream", chosen, after, to, limit, bytes_max)
        else:
            far = min(to, after + SCAN_POSITIONS_MAX)
            page, _ = await self._selected("by_kind", chosen, after, far, limit, bytes_max)
        return page

    async def read_stream(
        self, stream_id: str, *, after_version: int, limit: int
    ) -> Sequence[StoredEvent]:
        """`EventStore.read_stream`."""
        rows = await self._fetch(
            "read_stream", UUID(stream_id), after_version, min(limit, READ_EVENTS_MAX)
        )
        if not rows or rows[0]["stream_version"] <= after_version:
            return []
        if rows[0]["version"] != after_version + 1:
            await self._refuse_archived(0)
        return await self._events([tuple(row)[:8] for row in rows if row["version"] is not None])

    async def _refuse_archived(self, after: int) -> None:
        """Raise Archived when that is why events after a position are missing."""
        ((archived,),) = await self._fetch("archived")
        if archived > after:
            raise Archived(archived)

    def _rows(self, limit: int, bytes_max: int) -> int:
        """How many rows to fetch for a page."""
        likely = int(bytes_max / max(1.0, self._average_bytes) * (1 + SPARE_SHARE)) + 1
        return min(limit, READ_EVENTS_MAX, likely)

    async def _selected(
        self,
        way: str,
        chosen: tuple[list[str], list[UUID]],
        after: int,
        to: int,
        limit: int,
        bytes_max: int,
    ) -> tuple[SelectedPage, bool]:
        """The page, and whether its limits ended it."""
        limit = min(limit, READ_EVENTS_MAX)
        rows = await self._fetch(f"read_selected_{way}", *chosen, after, to, limit)
        kept = rows[: _kept([row[-1] for row in rows], bytes_max)]
        is_full = len(kept) == limit or len(kept) < len(rows)
        covered = kept[-1][0] if is_full else to
        return SelectedPage(covered_position=covered, events=await self._events(kept)), is_full

    async def _events(self, rows: Sequence[Any]) -> list[StoredEvent]:
        if large := [row[0] for row in rows if row[5] is None]:
            bodies = {row[0]: (row[1], row[2]) for row in await self._fetch("bodies", large)}
            if len(bodies) < len(large):
                raise Unavailable("reading the log: it is being archived here, try again")
            rows = [
                row if row[5] is not None else (*row[:5], *bodies[row[0]], row[7]) for row in rows
            ]
        if not self._names.keys() >= {row[3] for row in rows}:
            self._names = {row[0]: row[1] for row in await self._fetch("event_types")}
        names = self._names
        new = tuple.__new__  # a third less time than a named tuple's own constructor
        return [
            new(
                StoredEvent,
                (position, stream_id, version, names.get(kind, ""), time, data, metadata),
            )
            for position, stream_id, version, kind, time, data, metadata, _ in rows
        ]


def _kept(sizes: Sequence[int], bytes_max: int) -> int:
    """How many events of these sizes a page of `bytes_max` holds: at least one, if there is one."""
    if sum(sizes) <= bytes_max:
        return len(sizes)
    return max(1, bisect_right(list(accumulate(sizes)), bytes_max))
