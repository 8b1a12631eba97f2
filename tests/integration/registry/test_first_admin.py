"""The way into an empty cluster: one admin key, once, on standard output only."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from devstack import Postgres, ToolFailed
from devstack.first_admin import create_first_admin
from registry.adapters.postgres_event_store import PostgresEventStore

from tests.support.registry import environment, fresh_database


async def test_the_first_admin_gets_a_key_and_a_second_one_is_refused(
    postgres: Postgres, tmp_path: Path
) -> None:
    database = await fresh_database(postgres)
    variables = environment(database, tmp_path)
    key = await create_first_admin(variables, username="root")
    assert key.startswith("sim")
    assert len(key) == 28
    async with PostgresEventStore(database.log_dsn) as store:
        events = await store.read(0, limit=10)
    assert [event.name for event in events] == ["account.created.v1", "account.api_key_created.v1"]
    assert hashlib.sha256(key.encode()).digest() in events[1].data
    assert key.encode() not in events[1].data

    with pytest.raises(ToolFailed, match="root has an admin key already"):
        await create_first_admin(variables, username="second")
