"""The log's line of time on PostgreSQL: `log.seals`, and `log.seal_at` for what must wait."""

from __future__ import annotations

from datetime import datetime

from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.statements import statements
from registry.ports.event_store import Seal
from registry.ports.timeline import SealAtTime

_SUBJECT = "looking up a moment of the log"


class PostgresTimeline:
    """`Timeline` on PostgreSQL."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._sql = statements("snapshots.sql")

    async def seal_at(self, time: datetime) -> SealAtTime:
        ((*seal, clock),) = await self._pool.fetch(_SUBJECT, self._sql["seal_at"], time)
        return SealAtTime(seal=None if seal[0] is None else _seal(*seal), clock=clock)

    async def seal_of(self, position: int) -> Seal | None:
        rows = await self._pool.fetch(_SUBJECT, self._sql["seal_of"], position)
        seal = _seal(*rows[0]) if rows else None
        return seal if seal is not None and seal.first_position <= position else None

    async def first_position(self) -> int:
        ((position,),) = await self._pool.fetch(_SUBJECT, self._sql["first_position"])
        return int(position)


def _seal(first: int, last: int, seal_hash: bytes, time: datetime) -> Seal:
    return Seal(first_position=first, last_position=last, hash=seal_hash, time=time)
