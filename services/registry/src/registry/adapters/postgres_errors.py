"""The errors of the registry's PostgreSQL in the words of the kernel's tree."""

from __future__ import annotations

from contextlib import AbstractContextManager

from kernel.errors import EventflowsError, Unavailable
from servicekit import postgres

CLOCK_AHEAD = "EF001"


class LogTimeAhead(Unavailable):
    """The log's time is too far ahead of the server's clock: nothing is appended until then."""


def translated(subject: str) -> AbstractContextManager[None]:
    """Raise kernel errors in place of asyncpg's; `subject` names what was asked, without values."""

    def special(state: str) -> EventflowsError | None:
        if state != CLOCK_AHEAD:
            return None
        return LogTimeAhead(
            f"{subject}: the log is ahead of the database server's clock; mend the clock"
        )

    return postgres.translated(subject, special=special)
