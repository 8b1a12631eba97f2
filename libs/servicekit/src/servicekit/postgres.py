"""Connections to a PostgreSQL for short statements, and its errors as those of the kernel's tree.

For services that depend on `eventflows-servicekit[postgres]`: no other module of servicekit imports
asyncpg, so whoever has no database does not install it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import asyncpg
from kernel.errors import EventflowsError, InvalidInput, Unavailable

CONNECT_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 15.0
CONNECTIONS_MAX: Final = 4

_SERVER_SETTINGS: Final = {
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    "statement_timeout": "14s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",
}
_PASSING_CLASSES: Final = ("08", "40", "53", "55", "57", "58")
_BAD_DATA_CLASSES: Final = ("21", "22", "23", "54")
_LOST: Final = (
    asyncpg.InterfaceError,
    # The server's farewell was read, and its closing of the connection not yet.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
)

Translated: TypeAlias = Callable[[str], AbstractContextManager[None]]
"""Raises kernel errors in place of asyncpg's; the subject begins the sentence of an error."""


class PostgresPool:
    """A pool that dials when it is used. Enter it to open, leave it to close.

    Every connection bounds its statements and its waits for locks. `server_settings` are added to
    those that all have.
    """

    def __init__(
        self,
        dsn: str,
        *,
        application_name: str,
        translated: Translated,
        server_settings: Mapping[str, str] | None = None,
    ) -> None:
        self._dsn = dsn
        self._translated = translated
        self._server_settings = {
            "application_name": application_name,
            **_SERVER_SETTINGS,
            **(server_settings or {}),
        }
        self._pool: asyncpg.Pool[Any] | None = None

    async def __aenter__(self) -> Self:
        with self._translated("connecting to the database"):
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=0,  # a database that is away is no trouble of the start
                max_size=CONNECTIONS_MAX,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=CALL_TIMEOUT_S,
                server_settings=self._server_settings,
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
        """A connection for a few statements in a row; driver errors are translated on the way.

        Raises Unavailable before the pool is opened and after it is closed.
        """
        with self._translated(subject):
            if self._pool is None:
                raise Unavailable(f"{subject}: the database is closed in this process")
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                yield connection


@contextmanager
def translated(
    subject: str, *, special: Callable[[str], EventflowsError | None] = lambda _: None
) -> Iterator[None]:
    """Raise kernel errors in place of asyncpg's; `subject` names what was asked, without values.

    `special` comes first: the error for an SQLSTATE that means something to the caller, or None.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        raise special(state) or _of_sqlstate(state, subject) from error
    except _LOST as error:
        raise Unavailable(f"{subject}: the database cannot be reached, try again") from error


def not_ready(subject: str, state: str) -> Unavailable:
    """What is refused for now, and may be taken later."""
    return Unavailable(f"{subject}: the database is not ready ({state}), try again")


def _of_sqlstate(state: str, subject: str) -> EventflowsError:
    if state.startswith(_PASSING_CLASSES):
        return not_ready(subject, state)
    if state.startswith(_BAD_DATA_CLASSES):
        return InvalidInput(f"{subject}: the database refuses this data ({state})")
    return EventflowsError(f"{subject}: the database failed ({state})")
