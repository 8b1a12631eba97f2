"""`make_dead_letter_database.py FOLDER`: the database of the routers' index, and its login.

Reads the addresses that `make_secrets.py` wrote: `owner.dsn` of an administrator and
`dead_letters_app.dsn`. What exists is kept, but for the login's password, which is set again.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg


async def main(folder: Path) -> None:
    """Make what is missing. Raises what PostgreSQL refuses."""
    wanted = urlsplit((folder / "dead_letters_app.dsn").read_text())
    login, database = wanted.username or "", wanted.path.removeprefix("/")
    connection = await asyncpg.connect((folder / "owner.dsn").read_text())
    try:
        known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", login)
        verb = "ALTER" if known else "CREATE"
        await connection.execute(
            f"{verb} ROLE {quoted(login)} LOGIN PASSWORD {literal(unquote(wanted.password or ''))}"
        )
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await connection.execute(f"CREATE DATABASE {quoted(database)} OWNER {quoted(login)}")
    finally:
        await connection.close()


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
