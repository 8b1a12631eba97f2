"""The log on PostgreSQL, backwards: keyset pages from the newest event on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from registry.adapters.log_reads import (
    BY_STREAM_EVENTS_MAX,
    NEAR_POSITIONS,
    SCAN_POSITIONS_MAX,
)
from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.statements import statements
from registry.ports.event_store import (
    BATCH_BYTES_MAX,
    READ_EVENTS_MAX,
    Archived,
    SelectedPage,
    Selection,
    StoredEvent,
)

_SUBJECT: Final = "reading the log backwards"


class PostgresBackwardReads:
    """`BackwardReads` on PostgreSQL."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._sql = statements("log.sql") | statements("history.sql")

    async def read_back(
        self,
        to: int,
        *,
        after: int,
        selection: Selection | None,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
    ) -> SelectedPage:
        ((archived,),) = await self._fetch("archived")
        if to <= archived:
            raise Archived(archived)
        after, limit = max(after, archived), min(limit, READ_EVENTS_MAX)
        if selection is None:
            rows = await self._fetch("read_back", after, to, limit, bytes_max)
            return _page(rows, after, limit)
        chosen = sorted(selection.categories), [UUID(one) for one in sorted(selection.stream_ids)]
        near = max(after, to - NEAR_POSITIONS)
        rows = await self._fetch("read_back_by_kind", near, to, limit, bytes_max, *chosen)
        page = _page(rows, near, limit)
        if near == after or page.covered_position > near + 1:
            return page
        ((events,),) = await self._fetch("count_selected", *chosen, after, to)
        if events <= BY_STREAM_EVENTS_MAX:
            rows = await self._fetch("read_back_by_stream", after, to, limit, bytes_max, *chosen)
            return _page(rows, after, limit)
        far = max(after, to - SCAN_POSITIONS_MAX)
        rows = await self._fetch("read_back_by_kind", far, to, limit, bytes_max, *chosen)
        return _page(rows, far, limit)

    async def _fetch(self, name: str, *arguments: object) -> Sequence[Any]:
        return await self._pool.fetch(_SUBJECT, self._sql[name], *arguments)


def _page(rows: Sequence[Any], after: int, limit: int) -> SelectedPage:
    """`after` is how far down was looked, unless the page's limits ended it before."""
    events = [StoredEvent(*row[:7]) for row in rows]
    found = rows[0][7] if rows else 0
    ended = found == limit or len(events) < found
    return SelectedPage(covered_position=events[-1].position if ended else after + 1, events=events)
