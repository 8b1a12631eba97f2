"""What the database itself guards, tried against it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from registry.adapters.postgres_errors import LogTimeAhead
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application.verify import verify
from registry.ports.event_store import Status

from tests.support.registry import Database, append_of

TIMEOUT_S = 10.0
APPEND_ONLY = "EF002"
PARTITION = "log.events_from_000000000000001"


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close()


async def _fill(database: Database, batches: int = 4) -> None:
    async with PostgresEventStore(database.log_dsn) as store:
        for _ in range(batches):
            await store.append([append_of(2), append_of(1, expected_version=5), append_of(1)])


@pytest.mark.parametrize("table", ["log.events", PARTITION, "log.seals", "log.head"])
@pytest.mark.parametrize("change", ["UPDATE {} SET time = now()", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("login", ["log_dsn", "ops_dsn"])
async def test_neither_registry_nor_operator_may_change_what_happened(
    database: Database, login: str, table: str, change: str
) -> None:
    await _fill(database)
    async with _connected(getattr(database, login)) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(change.format(table))


@pytest.mark.parametrize("table", ["log.events", PARTITION, "log.seals", "log.event_types"])
@pytest.mark.parametrize("change", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0}"])
async def test_triggers_refuse_even_the_owner_also_on_a_partition(
    database: Database, table: str, change: str
) -> None:
    await _fill(database)
    column = "name" if table == "log.event_types" else "time"
    async with _connected(database.owner_dsn) as connection:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(change.format(table, column))
        assert caught.value.sqlstate == APPEND_ONLY


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO log.events VALUES (99, gen_random_uuid(), 1, 1, now(), '', '')",
        f"INSERT INTO {PARTITION} VALUES (99, gen_random_uuid(), 1, 1, now(), '', '')",
        "INSERT INTO log.seals SELECT * FROM log.seals",
        "INSERT INTO log.claims VALUES ('account/name/x', gen_random_uuid())",
        "UPDATE log.streams SET version = 0",
        "DELETE FROM log.commands",
        "SELECT log.add_partition()",
        "CREATE TABLE log.mine (id int)",
        "ALTER TABLE log.events DISABLE TRIGGER ALL",
        f"ALTER TABLE {PARTITION} DISABLE TRIGGER ALL",
        f"ALTER TABLE {PARTITION} DROP COLUMN data",
        f"ALTER TABLE log.events DETACH PARTITION {PARTITION}",
        f"DROP TABLE {PARTITION}",
        "DROP TABLE log.events",
        "DROP FUNCTION log.refuse_change CASCADE",
        "SELECT * FROM vault.secrets",
        "SELECT * FROM vault.data_keys",
        "SET ROLE vault_app",
        "SET ROLE log_owner",
    ],
)
@pytest.mark.parametrize("login", ["log_dsn", "ops_dsn"])
async def test_tables_are_written_by_functions_only(
    database: Database, login: str, statement: str
) -> None:
    async with _connected(getattr(database, login)) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    ["SELECT * FROM log.events", "SELECT * FROM log.head", "UPDATE vault.secrets SET sealed = ''"],
)
async def test_the_vaults_user_sees_no_log_and_rewrites_no_secret(
    database: Database, statement: str
) -> None:
    async with _connected(database.vault_dsn) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_a_table_of_the_callers_own_does_not_take_the_place_of_the_logs(
    database: Database,
) -> None:
    async with _connected(database.log_dsn) as connection:
        await connection.execute("CREATE TEMP TABLE head (id int, position bigint)")
        await connection.execute("CREATE TEMP TABLE events (position bigint)")
        await connection.execute("SET search_path = pg_temp, public")
        row = await connection.fetchrow(
            "SELECT status FROM log.append("
            "$1, $2, $3, $4, $5, $6, $7, $8, $9, '{}', '{}', '{}', '{}')",
            [append_of().command_id], [bytes(32)], [append_of().stream_id], ["account"], [0], [b""],
            [1], ["account.created.v1"], [b"data"],
        )  # fmt: skip
        assert row is not None
        assert row["status"] == "stored"
        assert await connection.fetchval("SELECT count(*) FROM log.events") == 1
        assert await connection.fetchval("SELECT count(*) FROM pg_temp.events") == 0


async def test_another_isolation_level_is_refused(database: Database) -> None:
    async with _connected(database.log_dsn) as connection:
        async with connection.transaction(isolation="repeatable_read"):
            with pytest.raises(asyncpg.PostgresError) as caught:
                await connection.execute("SELECT log.append(" + ", ".join(["'{}'"] * 13) + ")")
        assert caught.value.sqlstate == "EF003"


TAMPERINGS = {
    "another payload": ("UPDATE log.events SET data = 'other' WHERE position = 5", "events 4 to 6"),
    "another actor": ("UPDATE log.events SET metadata = 'm' WHERE position = 5", "events 4 to 6"),
    "another stream": (
        "UPDATE log.events SET stream_id = gen_random_uuid() WHERE position = 6", "events 4 to 6",
    ),
    "another kind": (
        "UPDATE log.event_types SET name = 'account.closed.v1' WHERE id = 1", "events 1 to 3",
    ),
    "another time": ("UPDATE log.events SET time = now() WHERE position = 5", "event 5"),
    "an event gone": ("DELETE FROM log.events WHERE position = 5", "event 5"),
    "a seal gone": ("DELETE FROM log.seals WHERE last_position = 6", "events 7 to 9"),
    "another seal": (
        "UPDATE log.seals SET hash = sha256('x') WHERE last_position = 6", "events 4 to 6",
    ),
    "another head": ("UPDATE log.head SET hash = sha256('x')", "the head"),
    "the end cut off": ("DELETE FROM log.events WHERE position > 9", "event 10"),
}  # fmt: skip


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_what_a_superuser_changes_is_found_and_located(
    database: Database, tampering: str
) -> None:
    statement, place = TAMPERINGS[tampering]
    await _fill(database)
    async with PostgresEventStore(database.log_dsn) as store:
        assert not (await verify(store)).problem
        async with _connected(database.owner_dsn) as connection:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(statement)
        assert place in (await verify(store)).problem


async def test_a_full_partition_is_followed_by_a_guarded_one(database: Database) -> None:
    async with _connected(database.owner_dsn) as connection:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION log.partition_size() RETURNS bigint "
            "LANGUAGE sql IMMUTABLE RETURN 5"
        )
        await connection.execute("UPDATE log.head SET covered_to = 2000000")
        # A log that has come close to the end of its second partition.
        await connection.execute("UPDATE log.head SET position = 1999998 WHERE id = 1")
        async with PostgresEventStore(database.log_dsn) as store:
            (first,) = await store.append([append_of(12)])
            (second,) = await store.append([append_of(1)])
        assert (first.status, first.position) == (Status.STORED, 2_000_010)
        assert second.position == 2_000_011
        parts = [
            row["relname"]
            for row in await connection.fetch(
                "SELECT relname FROM pg_class WHERE relname ~ '^events_from_[0-9]+$' ORDER BY 1"
            )
        ]
        assert "events_from_000000002000001" in parts
        assert "events_from_000000002000011" in parts
        for part in parts:
            with pytest.raises(asyncpg.PostgresError) as caught:
                await connection.execute(f"DELETE FROM log.{part}")
            assert caught.value.sqlstate == APPEND_ONLY


async def test_nothing_is_appended_while_the_log_is_ahead_of_the_clock(database: Database) -> None:
    async with _connected(database.owner_dsn) as connection:
        await connection.execute("UPDATE log.head SET time = clock_timestamp() + interval '50 s'")
        async with PostgresEventStore(database.log_dsn) as store:
            assert (await store.append([append_of()]))[0].status is Status.STORED
            first = (await store.head()).time
            await store.append([append_of()])
            second = (await store.head()).time
            assert first < second, "times of seals strictly increase"
            await connection.execute("UPDATE log.head SET time = clock_timestamp() + '2 min'")
            with pytest.raises(LogTimeAhead):
                await store.append([append_of()])


async def test_old_commands_are_forgotten_after_7_days(database: Database) -> None:
    old, young = append_of(), append_of()
    async with PostgresEventStore(database.log_dsn) as store:
        await store.append([old, young])
        async with _connected(database.owner_dsn) as connection:
            await connection.execute(
                "UPDATE log.commands SET time = now() - interval '8 days' WHERE command_id = $1",
                old.command_id,
            )
        assert await store.prune_commands(limit=10) == 1
        assert await store.find_command(old.command_id) is None
        assert await store.find_command(young.command_id) is not None


@pytest.mark.parametrize(
    "table", ["events", "seals", "head", "streams", "commands", "claims", "event_types"]
)
async def test_an_operator_reads_every_table_of_the_log(database: Database, table: str) -> None:
    await _fill(database)
    async with _connected(database.ops_dsn) as connection:
        count = await connection.fetchval(f"SELECT count(*) FROM log.{table}")
        assert count > 0 or table == "claims", "only the claims are empty after this filling"
        assert await connection.fetchval(f"SELECT count(*) FROM {PARTITION}") > 0


async def test_an_operator_appends_nothing_and_prunes_old_commands(database: Database) -> None:
    await _fill(database)
    async with _connected(database.ops_dsn) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="function append"):
            await connection.execute("SELECT log.append(" + ", ".join(["'{}'"] * 13) + ")")
        assert await connection.fetchval("SELECT log.prune_commands(10)") == 0
