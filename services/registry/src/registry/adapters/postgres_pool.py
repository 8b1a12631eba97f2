"""Connections for short statements, shared by adapters; none listens or holds a lock for long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import asyncpg
from kernel.errors import Unavailable

from registry.adapters.postgres_errors import translated

CONNECT_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 15.0
CONNECTIONS_MAX: Final = 4

_SERVER_SETTINGS: Final = {
    "application_name": "eventflows-registry",
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    "statement_timeout": "14s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",
}


class PostgresPool:
    """A pool that dials when it is used. Enter it to open, leave it to close."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: asyncpg.Pool[Any] | None = None

    async def __aenter__(self) -> Self:
        with translated("connecting to the database"):
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=0,  # a database that is away makes no noise
                max_size=CONNECTIONS_MAX,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=CALL_TIMEOUT_S,
                server_settings=_SERVER_SETTINGS,
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
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    async def fetch(self, subject: str, statement: str, *arguments: object) -> Sequence[Any]:
        """The rows of one statement; `subject` names what was asked, for errors."""
        async with self.connection(subject) as connection:
            rows: Sequence[Any] = await connection.fetch(statement, *arguments)
            return rows

    @asynccontextmanager
    async def connection(self, subject: str) -> AsyncIterator[Any]:
        """A connection for a few statements in a row; driver errors are translated on the way."""
        with translated(subject):
            if self._pool is None:
                raise Unavailable("the database is closed in this process")
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                yield connection
