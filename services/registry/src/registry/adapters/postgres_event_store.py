"""The log on PostgreSQL. Its rules live there: `sql/migrations/`, explained in docs/events.md.

Three kinds of connections: writers (appends only, one for each call under way), a small pool of
readers, one per `listen`. Each dials again when it is used after a loss; waiting in between is the
caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import asyncpg
from kernel.errors import Unavailable

from registry.adapters import append_arrays
from registry.adapters.log_reads import LogReads
from registry.adapters.postgres_errors import translated
from registry.adapters.statements import statements
from registry.ports.event_store import (
    BATCH_BYTES_MAX,
    READ_EVENTS_MAX,
    Append,
    Head,
    Outcome,
    Seal,
    SelectedPage,
    Selection,
    StoredCommand,
    StoredEvent,
)

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 15.0
READERS_MAX = 8
CHANNEL = "eventflows_log"

_SERVER_SETTINGS = {
    "application_name": "eventflows-registry",
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    "statement_timeout": "14s",
    "idle_in_transaction_session_timeout": "10s",
    # Never lower: a subscriber could see events that a crash takes back.
    "synchronous_commit": "on",
    "jit": "off",
    # It would gather millions of index entries for a stretch of positions that it takes for small.
    "enable_bitmapscan": "off",
}


class PostgresEventStore:
    """`EventStore` on PostgreSQL. Enter it to connect, leave it to close."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._sql = statements("log.sql")
        self._reads = LogReads(self._fetch)
        self._idle_writers: list[asyncpg.Connection[Any]] = []
        self._readers: asyncpg.Pool[Any] | None = None

    async def __aenter__(self) -> Self:
        with translated("connecting to the log"):
            self._readers = await asyncpg.create_pool(
                self._dsn,
                min_size=0,  # dialled when used: a database that is away makes no noise
                max_size=READERS_MAX,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=CALL_TIMEOUT_S,
                server_settings=_SERVER_SETTINGS,
                reset=_as_it_is,
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. May come early or twice."""
        writers, self._idle_writers = self._idle_writers, []
        readers, self._readers = self._readers, None
        for writer in writers:
            writer.terminate()
        if readers is not None:
            readers.terminate()

    async def append(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        if not batch:
            return []
        with translated("appending to the log"):
            async with self._writing() as connection:
                row = await connection.fetchrow(
                    self._sql["append"], *append_arrays.arguments(batch), timeout=CALL_TIMEOUT_S
                )
        assert row is not None  # a function with OUT parameters returns one row
        return append_arrays.outcomes(batch, row)

    async def read(
        self,
        after: int,
        *,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
        as_stored: bool = False,
    ) -> Sequence[StoredEvent]:
        return await self._reads.read(after, limit=limit, bytes_max=bytes_max, as_stored=as_stored)

    async def read_selected(
        self,
        after: int,
        *,
        to: int,
        selection: Selection,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
    ) -> SelectedPage:
        return await self._reads.read_selected(
            after, to=to, selection=selection, limit=limit, bytes_max=bytes_max
        )

    async def read_stream(
        self, stream_id: str, *, after_version: int = 0, limit: int = READ_EVENTS_MAX
    ) -> Sequence[StoredEvent]:
        return await self._reads.read_stream(stream_id, after_version=after_version, limit=limit)

    async def head(self) -> Head:
        (row,) = await self._fetch("head")
        return Head(position=row["position"], hash=row["hash"], time=row["time"])

    async def seals(self, after: int, *, limit: int) -> Sequence[Seal]:
        rows = await self._fetch("seals", after, min(limit, READ_EVENTS_MAX))
        return [Seal(**dict(row)) for row in rows]

    async def find_command(self, command_id: str) -> StoredCommand | None:
        rows = await self._fetch("find_command", UUID(command_id))
        return StoredCommand(**dict(rows[0])) if rows else None

    async def prune_commands(self, *, limit: int) -> int:
        (row,) = await self._fetch("prune_commands", limit)
        return int(row[0])

    async def listen(self, *, poll_s: float) -> AsyncIterator[int]:
        woken = asyncio.Event()
        lost = False

        def on_loss(_connection: object) -> None:
            nonlocal lost
            lost = True
            woken.set()

        def on_notice(*_notice: object) -> None:
            woken.set()

        with translated("listening to the log"):
            connection = await self._connect()
            try:
                connection.add_termination_listener(on_loss)
                await connection.add_listener(CHANNEL, on_notice)
                while not lost:
                    woken.clear()
                    row = await connection.fetchrow(self._sql["head"], timeout=CALL_TIMEOUT_S)
                    assert row is not None  # the migration wrote it, a trigger keeps it
                    yield int(row["position"])
                    with suppress(TimeoutError):
                        async with asyncio.timeout(poll_s):
                            await woken.wait()
                raise Unavailable("listening to the log: the connection was lost, try again")
            finally:
                connection.remove_termination_listener(on_loss)
                connection.terminate()

    async def _fetch(self, name: str, *arguments: object) -> Sequence[Any]:
        with translated("reading the log"):
            if self._readers is None:
                raise Unavailable("the log is closed in this process")
            async with self._readers.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                return await connection.fetch(self._sql[name], *arguments)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A connection for one append; kept for the next unless its state is unknown afterwards."""
        if self._readers is None:
            raise Unavailable("the log is closed in this process")
        connection = self._idle_writers.pop() if self._idle_writers else await self._connect()
        try:
            yield connection
        except BaseException as error:
            if not isinstance(error, asyncpg.PostgresError):
                connection.terminate()  # cancelled or lost: an answer may still come
            raise
        finally:
            if self._readers is None:
                connection.terminate()
            elif not connection.is_closed():
                self._idle_writers.append(connection)

    async def _connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=CALL_TIMEOUT_S,
            server_settings=_SERVER_SETTINGS,
        )


async def _as_it_is(_connection: object) -> None:
    """Readers leave nothing behind in a session, so the pool's reset (a round trip) is spared."""
