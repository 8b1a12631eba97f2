"""Brings a database to this build's schema: each numbered file once, in order, under a lock.

Run by `python -m registry migrate` with an administrator's address; the service itself has no right
to do it, and refuses to start on a schema that does not fit.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg
from servicekit.logs import hide
from servicekit.settings import SettingsError

from registry.adapters.postgres_errors import translated

CONNECT_TIMEOUT_S: Final = 10.0
STATEMENT_TIMEOUT_S: Final = 300.0
LOCK_KEY: Final = 0x6576666C6F777300  # "evflows", for pg_advisory_lock
SCRAM_ITERATIONS: Final = 4096
SCRAM_SALT_BYTES: Final = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> bytes:
        """Of the file, to notice one that was changed after it was applied."""
        return hashlib.sha256(self.sql.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A database user that logs in with the rights of a role."""

    role: str
    dsn: str


def migrations() -> Sequence[Migration]:
    """All files of this build, in order."""
    folder = files("registry.adapters") / "sql" / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [
        Migration(number=int(name[:4]), name=name, sql=(folder / name).read_text())
        for name in names
    ]


async def migrate(owner_dsn: str, logins: Sequence[Login]) -> int:
    """Apply what is missing and set up the logins; how many files were applied.

    Safe to repeat and to run twice at once. Raises SettingsError (the database holds something
    else, a login's address is no use) and Unavailable.
    """
    users = [_user_and_password(login)[0] for login in logins]
    if len(set(users)) != len(users):
        raise SettingsError(["the log's and the vault's database users must differ: name two"])
    with translated("migrating the database"):
        connection = await asyncpg.connect(
            owner_dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=STATEMENT_TIMEOUT_S
        )
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
            await connection.execute(
                (files("registry.adapters") / "sql" / "migrations_table.sql").read_text()
            )
            applied = [await _apply(connection, one) for one in await _missing(connection)]
            for login in logins:
                await _set_up(connection, login)
            return len(applied)
        finally:
            await connection.close()


async def check_schema(dsn: str) -> None:
    """Raise SettingsError unless the database has exactly this build's schema or a newer one."""
    with translated("looking at the database's schema"):
        try:
            connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
        except (
            asyncpg.InvalidAuthorizationSpecificationError,
            asyncpg.InvalidCatalogNameError,
        ) as error:
            raise _not_migrated("does not exist, or does not let the registry's user in") from error
        try:
            await _known(connection)
            if missing := await _missing(connection):
                raise _not_migrated(f"lacks {missing[0].name}")
        except asyncpg.UndefinedTableError as error:
            raise _not_migrated("is empty") from error
        finally:
            await connection.close()


async def _apply(connection: asyncpg.Connection[Any], migration: Migration) -> int:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute("RESET ROLE")
        await connection.execute(
            "INSERT INTO migration.applied (number, name, sha256) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.sha256,
        )
    _log.info("migrated", extra={"migration": migration.name})
    return migration.number


async def _missing(connection: asyncpg.Connection[Any]) -> Sequence[Migration]:
    known = await _known(connection)
    for one in migrations():
        if one.number in known and known[one.number] != one.sha256:
            raise SettingsError(
                [
                    f"the database was migrated with another {one.name}: "
                    "this build does not belong to it"
                ]
            )
    return [one for one in migrations() if one.number not in known]


async def _known(connection: asyncpg.Connection[Any]) -> dict[int, bytes]:
    rows = await connection.fetch("SELECT number, sha256 FROM migration.applied")
    return {row["number"]: row["sha256"] for row in rows}


async def _set_up(connection: asyncpg.Connection[Any], login: Login) -> None:
    user, password = _user_and_password(login)
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", user)
    if not exists:
        await connection.execute(await _quoted(connection, "CREATE ROLE %I LOGIN", user))
    await connection.execute(
        await _quoted(connection, "ALTER ROLE %I LOGIN PASSWORD %L", user, _verifier(password))
    )
    if user != login.role:
        await connection.execute(await _quoted(connection, "GRANT %I TO %I", login.role, user))


async def _quoted(connection: asyncpg.Connection[Any], template: str, *values: str) -> str:
    """DDL takes no parameters; PostgreSQL itself quotes the values."""
    return str(
        await connection.fetchval("SELECT format($1, VARIADIC $2::text[])", template, list(values))
    )


def _user_and_password(login: Login) -> tuple[str, str]:
    parts = urlsplit(login.dsn)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user or not password:
        raise SettingsError(
            [f"the address for {login.role} must be postgresql://user:password@host:port/database"]
        )
    if not password.isascii() or not password.isprintable():
        raise SettingsError([f"the password for {login.role} must be printable ASCII"])
    hide(password)
    return user, password


def _verifier(password: str) -> str:
    """What PostgreSQL keeps in place of a password (RFC 5803): statements may end up in its log."""
    salt = secrets.token_bytes(SCRAM_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def _not_migrated(state: str) -> SettingsError:
    return SettingsError(
        [
            f"the database {state}: run `python -m registry migrate` first, "
            "with the same EVENTFLOWS_REGISTRY_DATABASE_DSN_FILE"
        ]
    )
