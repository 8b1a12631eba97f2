"""The log's parts on PostgreSQL: what every process may know of them, and what operators may do.

The rules live in `0009_archive.sql`; its refusals (EF006, EF007) become StateForbids with their own
words, which hold positions and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import asyncpg
from kernel.errors import StateForbids
from sealedlog.verification import ChainPoint

from registry.adapters.postgres_errors import translated
from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.statements import statements
from registry.ports.archive import (
    ArchivedPartition,
    ImportStep,
    Partition,
    Room,
    StreamState,
)

CONNECT_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 600.0
"""A partition of a million events is looked through once while it is detached."""
REFUSALS: Final = ("EF006", "EF007")

_SERVER_SETTINGS: Final = {
    "application_name": "eventflows-registry-ops",
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    "statement_timeout": "590s",
    "idle_in_transaction_session_timeout": "10s",
    "synchronous_commit": "on",
    # What nobody waits for any more is not carried out behind the back of the next try.
    "client_connection_check_interval": "1s",
    "jit": "off",
}


class PostgresLogParts:
    """`LogParts` on PostgreSQL."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._sql = statements("archive.sql")

    async def room(self) -> Room:
        (row,) = await self._pool.fetch("reading the log", self._sql["room"])
        return Room(
            head_position=row["position"],
            covered_to=row["covered_to"],
            partition_size=row["partition_size"],
        )

    async def archived(self) -> ArchivedPartition | None:
        rows = await self._pool.fetch("reading the log", self._sql["newest_archived"])
        return _archived(rows[0]) if rows else None

    async def state_of(self, stream_id: str) -> StreamState | None:
        rows = await self._pool.fetch("reading the log", self._sql["state_of"], UUID(stream_id))
        return StreamState(**dict(rows[0])) if rows else None


class PostgresArchive:
    """`LogArchive` on PostgreSQL, with an operator's address. Enter it to open, leave to close."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._sql = statements("archive.sql")
        self._connection: asyncpg.Connection[Any] | None = None

    async def __aenter__(self) -> Self:
        return self  # dialled when used: operators' work is rare

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. May come early or twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def import_batches(self, step: ImportStep) -> None:
        events = [
            (number, event)
            for number, (_, events) in enumerate(step.batches, start=1)
            for event in events
        ]
        seals = [seal for seal, _ in step.batches]
        await self._fetch(
            "importing into the log",
            "import_batches",
            step.after.position,
            step.after.hash,
            [seal.hash for seal in seals],
            [seal.time for seal in seals],
            [number for number, _ in events],
            [UUID(event.stream_id) for _, event in events],
            [event.version for _, event in events],
            [event.name for _, event in events],
            [event.data for _, event in events],
            [event.metadata for _, event in events],
            list(step.claims),
            [UUID(stream_id) for stream_id in step.claims.values()],
            sorted(step.released),
        )

    async def partitions(self) -> Sequence[Partition]:
        rows = await self._fetch("reading the log's partitions", "partitions")
        return [Partition(**dict(row)) for row in rows]

    async def archived_partitions(self) -> Sequence[ArchivedPartition]:
        rows = await self._fetch("reading the log's archive", "all_archived")
        return [_archived(row) for row in rows]

    async def keep_states(self, states: Sequence[StreamState]) -> None:
        await self._fetch(
            "keeping states of streams",
            "keep_states",
            [UUID(one.stream_id) for one in states],
            [one.version for one in states],
            [one.format for one in states],
            [one.state for one in states],
        )

    async def detach(self, partition: Partition, *, sealed: ChainPoint, file_sha256: bytes) -> None:
        await self._fetch(
            "detaching a partition of the log",
            "detach",
            partition.first_position,
            sealed.position,
            sealed.hash,
            file_sha256,
        )

    async def drop(self, partition: Partition, *, file_sha256: bytes) -> None:
        await self._fetch(
            "dropping an archived partition", "drop", partition.first_position, file_sha256
        )

    async def _fetch(self, subject: str, name: str, *arguments: object) -> Sequence[Any]:
        async with self._open(subject) as connection:
            rows: Sequence[Any] = await connection.fetch(self._sql[name], *arguments)
            return rows

    @asynccontextmanager
    async def _open(self, subject: str) -> AsyncIterator[Any]:
        with translated(subject):
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(
                    self._dsn,
                    timeout=CONNECT_TIMEOUT_S,
                    command_timeout=CALL_TIMEOUT_S,
                    server_settings=_SERVER_SETTINGS,
                )
            try:
                yield self._connection
            except asyncpg.PostgresError as error:
                if error.sqlstate in REFUSALS:
                    raise StateForbids(f"{subject}: {error.args[0]}") from error
                raise
            except asyncio.CancelledError:
                raise  # asyncpg cancels the statement too, before the connection's next one
            except BaseException:
                await self.close()  # lost: an answer may still come
                raise


def _archived(row: Any) -> ArchivedPartition:
    return ArchivedPartition(
        partition=Partition(
            first_position=row["first_position"], last_position=row["last_position"]
        ),
        sealed=ChainPoint(position=row["sealed_position"], hash=row["hash"]),
        file_sha256=row["file_sha256"],
        dropped=row["state"] == "dropped",
    )
