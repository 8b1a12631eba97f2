"""The database of the dead letters' index: a pool that dials when it is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Final, Self

import asyncpg
from kernel.errors import EventflowsError, InvalidInput, Unavailable

CONNECT_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 15.0
CONNECTIONS_MAX: Final = 4

_SERVER_SETTINGS: Final = {
    "application_name": "eventflows-router",
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    "statement_timeout": "14s",
    "idle_in_transaction_session_timeout": "10s",
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
}
_NOT_MADE_YET: Final = ("3F000", "42P01")
"""No such schema, no such table: the reader makes them when it first reaches the database."""
_PASSING_CLASSES: Final = ("08", "28", "40", "53", "55", "57", "58", "3D")
_BAD_DATA_CLASSES: Final = ("21", "22", "23", "54")
_LOST: Final = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
)


class LetterDatabase:
    """Enter it to open, leave it to close; opening connects nothing."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: asyncpg.Pool[Any] | None = None

    async def __aenter__(self) -> Self:
        with translated("opening the index of dead letters"):
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=0,  # a database that is away is the reader's trouble, not the start's
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

    @asynccontextmanager
    async def connection(self, subject: str) -> AsyncIterator[Any]:
        """A connection for a few statements in a row; `subject` begins the sentence of an error."""
        with translated(subject):
            if self._pool is None:
                raise Unavailable("the index of dead letters is closed in this process")
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                yield connection


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Raise kernel errors in place of asyncpg's; `subject` names what was asked, without values."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _of_sqlstate(error, subject) from error
    except _LOST as error:
        raise Unavailable(f"{subject}: the database cannot be reached, try again") from error


def _of_sqlstate(error: asyncpg.PostgresError, subject: str) -> EventflowsError:
    state = error.sqlstate or ""
    if state in _NOT_MADE_YET:
        return Unavailable(f"{subject}: the index is not made yet, try again")
    if state.startswith(_PASSING_CLASSES):
        return Unavailable(f"{subject}: the database is not ready ({state}), try again")
    if state.startswith(_BAD_DATA_CLASSES):
        return InvalidInput(f"{subject}: the database refuses this data ({state})")
    return EventflowsError(f"{subject}: the database failed ({state})")
