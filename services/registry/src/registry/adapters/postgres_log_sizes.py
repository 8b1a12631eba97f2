"""How much the log on PostgreSQL holds: counted where that is cheap, sampled where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.statements import statements
from registry.ports.log_sizes import COUNTED_MAX, LogSizes

_SUBJECT: Final = "counting the log"
_TABLES: Final = ["streams", "seals", "commands"]


class PostgresLogSizing:
    """`LogSizing` on PostgreSQL, with no other right than SELECT."""

    def __init__(self, pool: PostgresPool, *, counted_max: int = COUNTED_MAX) -> None:
        self._pool = pool
        self._counted_max = counted_max
        self._sql = statements("history.sql")

    async def sizes(self) -> LogSizes:
        known = dict(await self._fetch("rows_known", _TABLES))
        ((first, last),) = await self._fetch("event_positions")
        ((covered_to,),) = await self._fetch("covered_to")
        return LogSizes(
            seals=await self._rows("seals", known["seals"]),
            commands=await self._rows("commands", known["commands"]),
            events_of_kind=await self._shares("events_of_kind", last - first + 1),
            streams_of_category=await self._shares("streams_of_category", known["streams"]),
            bytes_of_table=dict(await self._fetch("bytes_of_table")),
            covered_to_position=covered_to,
        )

    async def _rows(self, table: str, known: int) -> int:
        if known > self._counted_max:
            return known
        ((rows,),) = await self._fetch(f"count_{table}")
        return int(rows)

    async def _shares(self, statement: str, total: int) -> Mapping[str, int]:
        """Rows by a word. Of a large table: of `total` as they share a sample."""
        percent = 100.0 if total <= self._counted_max else 100.0 * self._counted_max / total
        counted = {word: int(rows) for word, rows in await self._fetch(statement, percent)}
        sampled = sum(counted.values())
        if percent == 100.0 or not sampled:
            return counted
        return {word: round(rows * total / sampled) for word, rows in counted.items()}

    async def _fetch(self, name: str, *arguments: object) -> Sequence[Any]:
        return await self._pool.fetch(_SUBJECT, self._sql[name], *arguments)
