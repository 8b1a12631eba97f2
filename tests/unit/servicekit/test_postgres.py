"""The pool of connections, as far as it needs no database: `tests/ports` use it with a real one."""

from __future__ import annotations

import asyncpg
import pytest
from kernel.errors import EventflowsError, InvalidInput, Unavailable
from servicekit.postgres import PostgresPool, translated

NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"


def pool() -> PostgresPool:
    return PostgresPool(NOBODY, application_name="tests", translated=translated)


async def test_opening_connects_nothing_and_a_database_that_is_away_is_told_when_it_is_used() -> (
    None
):
    async with pool() as opened:
        with pytest.raises(Unavailable, match="asking: the database cannot be reached"):
            await opened.fetch("asking", "SELECT 1")


async def test_a_pool_that_is_closed_says_so_and_closing_twice_is_harmless() -> None:
    opened = pool()
    async with opened:
        await opened.close()
    with pytest.raises(Unavailable, match="asking: the database is closed in this process"):
        await opened.fetch("asking", "SELECT 1")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.SerializationError("secret"), Unavailable),
        (asyncpg.StringDataRightTruncationError("secret"), InvalidInput),
        (asyncpg.InternalServerError("secret"), EventflowsError),
    ],
)
def test_an_error_of_the_server_is_told_by_its_class_and_without_values(
    error: asyncpg.PostgresError, kind: type[EventflowsError]
) -> None:
    with pytest.raises(EventflowsError) as told, translated("asking"):
        raise error
    assert type(told.value) is kind
    assert "secret" not in told.value.message


def test_a_state_that_means_something_to_the_caller_is_told_in_its_words() -> None:
    own = Unavailable("not made yet")
    with (
        pytest.raises(Unavailable, match="not made yet"),
        translated("asking", special={"42P01": own}.get),
    ):
        raise asyncpg.UndefinedTableError("no table")
