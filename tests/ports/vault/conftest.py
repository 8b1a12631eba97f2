"""The suite runs against every adapter of `Vault`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from devstack import Postgres
from registry.adapters.envelope import Envelope
from registry.adapters.memory_vault import MemoryVault
from registry.adapters.postgres_vault import PostgresVault
from registry.ports.vault import Vault

from tests.support.registry import fresh_database

NEWEST_MASTER_KEY = b"n" * 32


@pytest.fixture(params=["memory", "postgres"])
async def vault(request: pytest.FixtureRequest, postgres: Postgres) -> AsyncIterator[Vault]:
    """An empty vault."""
    envelope = Envelope(b"k" * 32, NEWEST_MASTER_KEY)
    if request.param == "memory":
        yield MemoryVault(envelope)
        return
    database = await fresh_database(postgres)
    async with PostgresVault(database.vault_dsn, envelope) as vault:
        yield vault
