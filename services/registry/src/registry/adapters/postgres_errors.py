"""The one place where driver errors of PostgreSQL become errors of the kernel's tree."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from kernel.errors import EventflowsError, InvalidInput, Unavailable

CLOCK_AHEAD = "EF001"
_UNREACHABLE_CLASSES = ("08", "40", "53", "55", "57", "58")
_LOST = (
    asyncpg.InterfaceError,
    # The server's farewell was read, and its closing of the connection not yet.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
)
_BAD_DATA_CLASSES = ("21", "22", "23", "54")


class LogTimeAhead(Unavailable):
    """The log's time is too far ahead of the server's clock: nothing is appended until then."""


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
    if state == CLOCK_AHEAD:
        return LogTimeAhead(
            f"{subject}: the log is ahead of the database server's clock; mend the clock"
        )
    if state.startswith(_UNREACHABLE_CLASSES):
        return Unavailable(f"{subject}: the database is not ready ({state}), try again")
    if state.startswith(_BAD_DATA_CLASSES):
        return InvalidInput(f"{subject}: the database refuses this data ({state})")
    return EventflowsError(f"{subject}: the database failed ({state})")
