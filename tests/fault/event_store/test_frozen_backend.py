"""The backend that holds the log's head stands still: writers are told in time, and go on after."""

from __future__ import annotations

import asyncio
import os
import signal

import asyncpg
import pytest
from devstack import Postgres
from kernel.errors import Unavailable
from registry.adapters import postgres_event_store as store_module
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application import group_commit as group_commit_module
from registry.ports.event_store import Append, Status

from tests.support.appending import group_commit_over
from tests.support.recomputed_chain import assert_sound
from tests.support.registry import Database, append_of, fresh_database

TIMEOUT_S = 90.0
REFUSED_WITHIN_S = 10.0


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of production, a tenth as long."""
    monkeypatch.setattr(store_module, "CALL_TIMEOUT_S", 1.5)
    monkeypatch.setitem(store_module._SERVER_SETTINGS, "lock_timeout", "1s")
    monkeypatch.setitem(store_module._SERVER_SETTINGS, "statement_timeout", "1400ms")
    monkeypatch.setattr(group_commit_module, "OUTAGE_MAX_S", 2.0)


@pytest.mark.parametrize("end", ["it goes on", "it is killed"])
async def test_writers_behind_a_frozen_backend_are_told_and_go_on_after_it(
    own_postgres: Postgres, end: str
) -> None:
    database = await fresh_database(own_postgres)
    items = [append_of(1) for _ in range(8)]
    async with PostgresEventStore(database.log_dsn) as store, asyncio.timeout(TIMEOUT_S):
        async with group_commit_over(store) as group_commit:
            await group_commit.append(append_of(1))
            frozen = await _freeze_an_append(database, store)
            async with asyncio.timeout(REFUSED_WITHIN_S):
                results = await asyncio.gather(
                    *(group_commit.append(item) for item in items), return_exceptions=True
                )
            assert all(isinstance(result, Unavailable) for result in results), results
            os.kill(frozen.backend, signal.SIGCONT if end == "it goes on" else signal.SIGKILL)
            with pytest.raises(Unavailable):
                await frozen.call
            for item in [*items, frozen.item]:
                assert (await _stubbornly(group_commit, item)) in {Status.STORED, Status.REPLAYED}
        events = await assert_sound(store)
        assert len(events) == 1 + len(items) + 1
        assert len({event.stream_id for event in events}) == len(events), "none twice"


class _Frozen:
    def __init__(self, item: Append, call: asyncio.Task[object], backend: int) -> None:
        self.item = item
        self.call = call
        self.backend = backend


async def _freeze_an_append(database: Database, store: PostgresEventStore) -> _Frozen:
    """Stop an append that has the head, and waits for a table that it needs next."""
    superuser = await asyncpg.connect(database.owner_dsn)
    try:
        item = append_of(1)
        async with superuser.transaction():
            await superuser.execute("LOCK TABLE log.commands IN ACCESS EXCLUSIVE MODE")
            call: asyncio.Task[object] = asyncio.create_task(_append(store, item))
            while not (backend := await superuser.fetchval(
                "SELECT pid FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )):  # fmt: skip
                assert not call.done()
            os.kill(backend, signal.SIGSTOP)
        return _Frozen(item, call, backend)
    finally:
        await superuser.close()


async def _append(store: PostgresEventStore, item: Append) -> object:
    return await store.append([item])


async def _stubbornly(group_commit: group_commit_module.GroupCommit, item: Append) -> Status:
    while True:
        try:
            return (await group_commit.append(item)).status
        except Unavailable:
            continue  # the server may be coming up again
