"""The database of the dead letters' index: connections, and its errors in the kernel's words."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from kernel.errors import EventflowsError, Unavailable
from servicekit import postgres

_NOT_MADE_YET: Final = ("3F000", "42P01")
"""No such schema, no such table: the reader makes them when it first reaches the database."""
_PASSING_CLASSES: Final = ("28", "3D")
"""Login or database are not there (yet): whoever sets the cluster up makes them meanwhile."""


class LetterDatabase(postgres.PostgresPool):
    """Each statement is planned with its values, so that what is not asked for costs nothing."""

    def __init__(self, dsn: str) -> None:
        super().__init__(
            dsn,
            application_name="eventflows-router",
            translated=translated,
            server_settings={"plan_cache_mode": "force_custom_plan"},
        )


def translated(subject: str) -> AbstractContextManager[None]:
    """Raise kernel errors in place of asyncpg's; `subject` names what was asked, without values."""

    def special(state: str) -> EventflowsError | None:
        if state in _NOT_MADE_YET:
            return Unavailable(f"{subject}: the index is not made yet, try again")
        return postgres.not_ready(subject, state) if state.startswith(_PASSING_CLASSES) else None

    return postgres.translated(subject, special=special)
