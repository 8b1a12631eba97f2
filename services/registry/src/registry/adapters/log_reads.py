"""Reading events out of PostgreSQL: plain keyset pages, cut here, as fast as rows can be taken.

No window function and no join: a page is fetched by the average size of an event, names of kinds
come from memory, and the few large events of a page are fetched by a second statement. So a page
never costs more memory than its limit in bytes and 2 kB an event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Any
from uuid import UUID

from kernel.errors import EventflowsError

from registry.ports.event_store import READ_EVENTS_MAX, SelectedPage, Selection, StoredEvent

BY_STREAM_EVENTS_MAX = 20_000
"""Above it the streams' look-ups and their sort for each page cost more than a scan (measured)."""
NEAR_POSITIONS_MAX = 5_000
"""A stretch this short is scanned without asking how many events of it are selected."""
SCAN_POSITIONS_MAX = 500_000
"""In one statement: under a second, far below the statement timeout."""
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

    async def read(self, after: int, *, limit: int, bytes_max: int) -> Sequence[StoredEvent]:
        """`EventStore.read`."""
        rows = await self._fetch("read", after, self._rows(limit, bytes_max))
        if rows:
            self._average_bytes = sum(row[-1] for row in rows) / len(rows)
        return await self._events(_cut(rows, bytes_max))

    async def read_selected(
        self, after: int, *, to: int, selection: Selection, limit: int, bytes_max: int
    ) -> SelectedPage:
        """`EventStore.read_selected`."""
        chosen = sorted(selection.categories), [UUID(one) for one in sorted(selection.stream_ids)]
        limit = min(limit, READ_EVENTS_MAX)
        if await self._are_few(after, to, chosen):
            statement = "read_selected_by_stream"
        else:
            statement, to = "read_selected_by_kind", min(to, after + SCAN_POSITIONS_MAX)
        rows = await self._fetch(statement, *chosen, after, to, limit)
        kept = _cut(rows, bytes_max)
        whole = len(kept) == len(rows) < limit
        return SelectedPage(
            covered_position=to if whole else kept[-1][0], events=await self._events(kept)
        )

    async def read_stream(
        self, stream_id: str, *, after_version: int, limit: int
    ) -> Sequence[StoredEvent]:
        """`EventStore.read_stream`."""
        rows = await self._fetch(
            "read_stream", UUID(stream_id), after_version, min(limit, READ_EVENTS_MAX)
        )
        return await self._events(rows)

    def _rows(self, limit: int, bytes_max: int) -> int:
        """How many rows to fetch for a page."""
        likely = int(bytes_max / self._average_bytes * (1 + SPARE_SHARE)) + 1
        return min(limit, READ_EVENTS_MAX, likely)

    async def _are_few(self, after: int, to: int, chosen: tuple[list[str], list[UUID]]) -> bool:
        if to - after <= NEAR_POSITIONS_MAX:
            return False
        (row,) = await self._fetch("count_selected", *chosen, after, to)
        return int(row[0]) <= BY_STREAM_EVENTS_MAX

    async def _events(self, rows: Sequence[Any]) -> list[StoredEvent]:
        bodies = await self._bodies([row[0] for row in rows if row[5] is None])
        for _ in range(2):  # an unknown kind is looked up, once
            names = self._names
            try:
                return [
                    StoredEvent(
                        position,
                        stream_id,
                        version,
                        names[kind],
                        time,
                        *((data, metadata) if data is not None else bodies[position]),
                    )
                    for position, stream_id, version, kind, time, data, metadata, _ in rows
                ]
            except KeyError:
                self._names = {row[0]: row[1] for row in await self._fetch("event_types")}
        raise EventflowsError("the log holds events of a kind that log.event_types lacks")

    async def _bodies(self, positions: list[int]) -> dict[int, tuple[bytes, bytes]]:
        """Data and metadata of the large events."""
        if not positions:
            return {}
        return {row[0]: (row[1], row[2]) for row in await self._fetch("bodies", positions)}


def _cut(rows: Sequence[Any], bytes_max: int) -> Sequence[Any]:
    """As many rows as `bytes_max` allows, at least the first."""
    sizes = accumulate(row[-1] for row in rows)
    kept = next((number for number, size in enumerate(sizes) if size > bytes_max), len(rows))
    return rows if kept == len(rows) else rows[: max(1, kept)]
