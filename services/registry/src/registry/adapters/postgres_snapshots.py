"""Snapshots on PostgreSQL: a row each, and a row a part. The rules live in `0008_snapshots.sql`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import asyncpg
from kernel.errors import NotFound, StateForbids

from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.statements import statements
from registry.ports.snapshots import Snapshot, check_parts

OTHER_LOG = "EF004"
_BIGINT_MAX = 2**63 - 1


class PostgresSnapshots:
    """`Snapshots` on PostgreSQL."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._sql = statements("snapshots.sql")

    async def put(
        self, *, position: int, fold: str, seal_hash: bytes, parts: Sequence[bytes]
    ) -> bool:
        check_parts(parts)
        size_bytes = sum(map(len, parts))
        async with (
            self._pool.connection("keeping a snapshot") as connection,
            connection.transaction(),
        ):
            try:
                begun = await connection.fetchval(
                    self._sql["begin"], fold, position, seal_hash, len(parts), size_bytes
                )
            except asyncpg.PostgresError as error:
                if error.sqlstate != OTHER_LOG:
                    raise
                raise StateForbids(
                    f"no seal of this log ends at {position} with this hash: "
                    "take the snapshot from this log"
                ) from error
            if begun:
                await connection.executemany(
                    self._sql["add_part"],
                    [(fold, position, number, part) for number, part in enumerate(parts)],
                )
            return bool(begun)

    async def newest(self, *, fold: str, at_most: int | None = None) -> Snapshot | None:
        bound = _BIGINT_MAX if at_most is None else at_most
        rows = await self._pool.fetch("reading snapshots", self._sql["newest"], fold, bound)
        return Snapshot(**dict(rows[0])) if rows else None

    async def read(self, snapshot: Snapshot) -> AsyncIterator[bytes]:
        for number in range(snapshot.parts):
            rows = await self._pool.fetch(
                "reading snapshots", self._sql["part"], snapshot.fold, snapshot.position, number
            )
            if not rows:
                raise NotFound(
                    f"the snapshot at {snapshot.position} is gone: ask for the newest again"
                )
            yield bytes(rows[0]["data"])

    async def positions(self, *, fold: str) -> Sequence[int]:
        rows = await self._pool.fetch("reading snapshots", self._sql["positions"], fold)
        return [row["position"] for row in rows]

    async def keep(self, *, fold: str, newest: int) -> int:
        rows = await self._pool.fetch("pruning snapshots", self._sql["keep"], fold, newest)
        return int(rows[0][0])
