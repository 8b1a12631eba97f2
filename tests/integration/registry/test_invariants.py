"""What the database itself guards, tried against it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
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
TABLES = """
SELECT format('log.%I', c.relname) AS table, a.attname AS column
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1
WHERE c.relnamespace = 'log'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
"""


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


CHANGES = (
    "UPDATE {table} SET {column} = {column}",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "TRUNCATE {table} CASCADE",
    "INSERT INTO {table} SELECT * FROM {table}",
    "COPY {table} FROM STDIN",
    "DROP TABLE {table}",
    "DROP TABLE {table} CASCADE",
    "ALTER TABLE {table} RENAME TO mine",
    "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} DISABLE TRIGGER USER",
    "ALTER TABLE {table} DISABLE RULE mine",
    "CREATE TRIGGER mine BEFORE UPDATE ON {table}"
    " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE mine AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "CREATE INDEX ON {table} ({column})",
)


@pytest.mark.parametrize("login", ["log_dsn", "ops_dsn"])
async def test_no_table_of_the_log_can_be_changed_by_hand(database: Database, login: str) -> None:
    """Every table that there is, so a new one is tried too."""
    await _fill(database, batches=1)
    async with _connected(database.owner_dsn) as connection:
        tables = await connection.fetch(TABLES)
        before = await _contents(connection, tables)
    assert len(tables) >= 12
    async with _connected(getattr(database, login)) as connection:
        for statement in (change.format(**table) for change in CHANGES for table in tables):
            await _refused(connection, statement)
        for table in tables:
            await _granted_in_vain(connection, table["table"])
    async with _connected(database.owner_dsn) as connection:
        assert await connection.fetch(TABLES) == tables
        assert await _contents(connection, tables) == before


async def _refused(connection: asyncpg.Connection[Any], statement: str) -> None:
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return
    pytest.fail(f"this was not refused: {statement}")


async def _granted_in_vain(connection: asyncpg.Connection[Any], table: str) -> None:
    """Who may read a table gets a warning, else an error: nothing is granted either way."""
    with suppress(asyncpg.InsufficientPrivilegeError):
        await connection.execute(f"GRANT ALL ON {table} TO CURRENT_USER")
    assert not await connection.fetchval(
        "SELECT has_table_privilege($1, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')", table
    )


async def _contents(
    connection: asyncpg.Connection[Any], tables: Sequence[asyncpg.Record]
) -> dict[str, str | None]:
    """A digest of all rows of each table; None without rows."""
    return {
        one["table"]: await connection.fetchval(
            f"SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {one['table']} t"
        )
        for one in tables
    }


GUARDS = (
    f"ALTER TABLE log.events DETACH PARTITION {PARTITION}",
    f"ALTER TABLE log.events DETACH PARTITION {PARTITION} CONCURRENTLY",
    "CREATE TABLE log.mine PARTITION OF log.events DEFAULT",
    "ALTER FUNCTION log.append_batch SECURITY INVOKER",
    "ALTER FUNCTION log.append_batch RESET search_path",
    "CREATE OR REPLACE FUNCTION log.partition_size() RETURNS bigint LANGUAGE sql RETURN 1",
    "DROP FUNCTION log.append_batch",
    "DROP SCHEMA log CASCADE",
    "ALTER SCHEMA log OWNER TO CURRENT_USER",
    "SELECT log.type_ids(ARRAY['mine.v1'])",
    "SELECT log.judge('{}', '{}', '{}', '{}', '{}', '{}', '{}')",
    "SET session_replication_role = replica",
    "ALTER SYSTEM SET fsync = off",
)


@pytest.mark.parametrize("login", ["log_dsn", "ops_dsn"])
async def test_nor_can_what_guards_the_log(database: Database, login: str) -> None:
    async with _connected(getattr(database, login)) as connection:
        for statement in GUARDS:
            await _refused(connection, statement)


@pytest.mark.parametrize(
    ("statement", "sqlstate"),
    [
        ("INSERT INTO log.head VALUES (2, 0, sha256(''), now(), 0)", "23514"),
        ("INSERT INTO log.head VALUES (1, 0, sha256(''), now(), 0)", "23505"),
        ("DELETE FROM log.head", APPEND_ONLY),
        ("TRUNCATE log.head", APPEND_ONLY),
        ("DELETE FROM log.streams", APPEND_ONLY),
        (f"INSERT INTO {PARTITION} SELECT * FROM {PARTITION} LIMIT 1", "23505"),
        # The same version of a stream at another position.
        (
            f"INSERT INTO {PARTITION} SELECT 900, stream_id, version, type, time, data, metadata"
            f" FROM {PARTITION} LIMIT 1",
            "23505",
        ),
        (f"INSERT INTO {PARTITION} VALUES (99, gen_random_uuid(), 0, 1, now(), '', '')", "23514"),
        (
            "INSERT INTO log.seals SELECT last_position + 9, 1, hash, time FROM log.seals LIMIT 1",
            "23505",
        ),
        ("INSERT INTO log.claims SELECT name, gen_random_uuid() FROM log.claims LIMIT 1", "23505"),
        (
            "INSERT INTO log.events VALUES (9000000, gen_random_uuid(), 1, 1, now(), '', '')",
            "23514",
        ),
    ],
)
async def test_keys_and_checks_refuse_even_the_owner(
    database: Database, statement: str, sqlstate: str
) -> None:
    async with PostgresEventStore(database.log_dsn) as store:
        await store.append([append_of(2, claims=("name/a",))])
    async with _connected(database.owner_dsn) as connection:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(statement)
        assert caught.value.sqlstate == sqlstate


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
        statuses = await connection.fetchval(
            "SELECT statuses FROM log.append_batch("
            "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '{}', '{}', '{}', '{}')",
            [append_of().command_id], [bytes(32)], [append_of().stream_id], ["account"], [0], [b""],
            [1], ["account.created.v1"], [1], [1], [b"data"],
        )  # fmt: skip
        assert statuses is None, "all stored"
        assert await connection.fetchval("SELECT count(*) FROM log.events") == 1
        assert await connection.fetchval("SELECT count(*) FROM pg_temp.events") == 0


async def test_another_isolation_level_is_refused(database: Database) -> None:
    async with _connected(database.log_dsn) as connection:
        for function, arguments in (("append", 13), ("append_batch", 15)):
            empty = ", ".join(["'{}'"] * arguments)
            with pytest.raises(asyncpg.PostgresError) as caught:
                async with connection.transaction(isolation="repeatable_read"):
                    await connection.execute(f"SELECT log.{function}({empty})")
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
        for function, arguments in (("append", 13), ("append_batch", 15)):
            empty = ", ".join(["'{}'"] * arguments)
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"function {function}"):
                await connection.execute(f"SELECT log.{function}({empty})")
        assert await connection.fetchval("SELECT log.prune_commands(10)") == 0
