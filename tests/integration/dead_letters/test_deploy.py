"""The scripts of `deploy/` make a database that the index can live in."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

from devstack import Postgres
from router.adapters.letter_database import LetterDatabase
from router.adapters.postgres_letter_fold import PostgresLetterFold

SCRIPT = Path(__file__).parents[3] / "deploy" / "make_dead_letter_database.py"
RUN_TIMEOUT_S = 30.0


async def test_login_and_database_are_made_and_kept(postgres: Postgres, tmp_path: Path) -> None:
    at = urlsplit(postgres.dsn)
    (tmp_path / "owner.dsn").write_text(postgres.dsn)
    for password in ("first-password", "second-password"):
        dsn = f"postgresql://dead_letters_app:{password}@{at.hostname}:{at.port}/dead_letters_made"
        (tmp_path / "dead_letters_app.dsn").write_text(dsn)
        run = await asyncio.create_subprocess_exec(sys.executable, SCRIPT, tmp_path)
        async with asyncio.timeout(RUN_TIMEOUT_S):
            assert await run.wait() == 0
        async with LetterDatabase(dsn) as database:
            await PostgresLetterFold(database).prepare()
