"""The schema: applied once, in order, by anybody at the same time; never silently another."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from devstack import Postgres
from registry.adapters import migrations
from registry.adapters.migrations import Login, check_schema, migrate
from servicekit.settings import SettingsError

from tests.support import schema
from tests.support.registry import Database, fresh_database

TIMEOUT_S = 10.0


async def test_migrating_twice_at_once_applies_each_file_once(postgres: Postgres) -> None:
    owner_dsn = await postgres.create_database(f"empty_{uuid4().hex[:12]}")
    applied = await asyncio.gather(*(migrate(owner_dsn, []) for _ in range(3)))
    assert sorted(applied) == [0, 0, len(migrations.migrations())]


async def test_the_committed_schema_is_what_the_migrations_make(postgres: Postgres) -> None:
    committed = schema.committed_path().read_text()
    assert await schema.migrated_schema(postgres) == committed, "renew it with `make schema`"


def test_what_changes_from_dump_to_dump_is_no_part_of_the_schema() -> None:
    dumps = [
        f"--\n-- Dumped by pg_dump {version}\n\n\\restrict {key}\n\nSET lock_timeout = 0;\n"
        f"CREATE TABLE a ();\n\n\n\n-- Name: b\nCREATE TABLE b ();\n\\unrestrict {key}\n"
        for version, key in (("18.1", "k1"), ("18.4", "k2"))
    ]
    first, second = (schema.normalised(dump) for dump in dumps)
    assert first == second
    assert first.endswith("CREATE TABLE a ();\n\nCREATE TABLE b ();\n")


async def test_an_empty_database_is_refused_with_what_to_do(postgres: Postgres) -> None:
    owner_dsn = await postgres.create_database(f"empty_{uuid4().hex[:12]}")
    with pytest.raises(SettingsError, match="python -m registry migrate"):
        await check_schema(owner_dsn)


async def test_a_schema_that_lacks_a_file_is_refused(database: Database) -> None:
    await check_schema(database.log_dsn)
    connection = await asyncpg.connect(database.owner_dsn, timeout=TIMEOUT_S)
    try:
        await connection.execute("DELETE FROM migration.applied WHERE number = 6")
    finally:
        await connection.close()
    with pytest.raises(SettingsError, match=r"lacks 0006_vault\.sql"):
        await check_schema(database.log_dsn)


async def test_a_schema_made_by_another_file_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = migrations.migrations()
    changed = [replace(first, sql=first.sql + "-- changed"), *others]
    monkeypatch.setattr(migrations, "migrations", lambda: changed)
    with pytest.raises(SettingsError, match="another 0001_roles"):
        await migrate(database.owner_dsn, [])
    with pytest.raises(SettingsError, match="another 0001_roles"):
        await check_schema(database.log_dsn)


async def test_a_newer_schema_is_no_obstacle(database: Database) -> None:
    connection = await asyncpg.connect(database.owner_dsn, timeout=TIMEOUT_S)
    try:
        await connection.execute(
            "INSERT INTO migration.applied (number, name, sha256) VALUES (99, '0099_later.sql', '')"
        )
    finally:
        await connection.close()
    await check_schema(database.log_dsn)


async def test_a_password_is_renewed_and_stands_nowhere_in_clear(postgres: Postgres) -> None:
    database = await fresh_database(postgres)
    parts = urlsplit(database.log_dsn)
    user = f"renewed_{uuid4().hex[:12]}"
    addresses = [
        urlunsplit(parts._replace(netloc=f"{user}:{word}@{parts.hostname}:{parts.port}"))
        for word in ("first-password", "second%20'pass%5Cword")
    ]
    for dsn in addresses:
        await migrate(database.owner_dsn, [Login(role="log_app", dsn=dsn)])
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(addresses[0], timeout=TIMEOUT_S)
    connection = await asyncpg.connect(addresses[1], timeout=TIMEOUT_S)
    try:
        assert await connection.fetchval("SELECT position FROM log.head") == 0
    finally:
        await connection.close()


@pytest.mark.parametrize("netloc", ["nobody@host", ":pw@host", "nobody:pässword@host"])
async def test_a_login_without_a_usable_password_is_refused(
    database: Database, netloc: str
) -> None:
    dsn = urlunsplit(urlsplit(database.log_dsn)._replace(netloc=netloc))
    with pytest.raises(SettingsError):
        await migrate(database.owner_dsn, [Login(role="log_app", dsn=dsn)])


async def test_one_user_for_the_log_and_the_vault_is_refused(database: Database) -> None:
    both = [Login(role=role, dsn=database.log_dsn) for role in ("log_app", "vault_app")]
    with pytest.raises(SettingsError, match="must differ"):
        await migrate(database.owner_dsn, both)
