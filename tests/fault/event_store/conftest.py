"""A PostgreSQL of each test's own, which it may kill, freeze or starve."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from devstack import Postgres


@pytest.fixture
async def own_postgres() -> AsyncIterator[Postgres]:
    server = Postgres()
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
