"""The database's schema as text: `python -m tests.support.schema` renews `schema.sql`.

What `pg_dump` says of a database that was just migrated, without what tells of the moment or of the
program. A test compares the two, so that a migration shows in a review as what it changes.
"""

from __future__ import annotations

import asyncio
import os
import re
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from uuid import uuid4

from devstack import Postgres
from devstack.postgres import program
from registry.adapters.migrations import migrate

SCHEMAS = ("log", "vault", "migration")
DUMP_TIMEOUT_S = 60.0

_NOISE = re.compile(r"^(--.*|SET .*|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*)$", re.M)
_GAPS = re.compile(r"\n{3,}")


def committed_path() -> Path:
    """Where the schema is kept."""
    return Path(str(files("registry.adapters"))) / "sql" / "schema.sql"


async def migrated_schema(postgres: Postgres) -> str:
    """What the migrations make of an empty database. Raises RuntimeError with pg_dump's words."""
    dsn = await postgres.create_database(f"schema_{uuid4().hex[:12]}")
    await migrate(dsn, [])
    return await _dumped(dsn)


async def _dumped(dsn: str) -> str:
    at = urlsplit(dsn)
    with TemporaryDirectory() as folder:
        passwords = Path(folder) / "pgpass"
        passwords.touch(mode=0o600)
        passwords.write_text(f"*:*:*:{at.username}:{at.password}\n")
        run = await asyncio.create_subprocess_exec(
            str(program("pg_dump")), "--schema-only", *(f"--schema={name}" for name in SCHEMAS),
            at._replace(netloc=f"{at.username}@{at.hostname}:{at.port}").geturl(),
            env={**os.environ, "PGPASSFILE": str(passwords)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(DUMP_TIMEOUT_S):
            output, complaint = await run.communicate()
    if run.returncode != 0:
        raise RuntimeError(f"pg_dump ended with {run.returncode}: {complaint.decode()}")
    return normalised(output.decode())


def normalised(dump: str) -> str:
    """Without comments, settings, and the keys that `pg_dump` makes up for each run."""
    text = _GAPS.sub("\n\n", _NOISE.sub("", dump)).strip()
    return (
        f"-- What the migrations make of an empty database; renewed by `make schema`.\n\n{text}\n"
    )


async def main() -> None:
    """Migrate an empty database and write down what came of it."""
    postgres = Postgres()
    await postgres.start()
    try:
        committed_path().write_text(await migrated_schema(postgres))
    finally:
        await postgres.stop()


if __name__ == "__main__":
    asyncio.run(main())
