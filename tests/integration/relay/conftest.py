"""A database, a served registry and two topics of its own for every test that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from devstack import Postgres

from tests.support.registry import Database, Served, fresh_database, served


@pytest.fixture
async def database(postgres: Postgres) -> Database:
    """Migrated and empty."""
    return await fresh_database(postgres)


@pytest.fixture
async def registry(database: Database, tmp_path: Path) -> AsyncIterator[Served]:
    """The real service in this process, on a real port."""
    async with served(database, tmp_path) as registry:
        yield registry


@pytest.fixture
def topics() -> tuple[str, str]:
    """Names that nobody else has: of the full topic and of the state topic."""
    name = uuid4().hex[:8]
    return f"log-{name}", f"state-{name}"
