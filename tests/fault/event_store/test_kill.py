"""PostgreSQL dies under 32 writers: what was acknowledged is there, once; the rest is asked."""

from __future__ import annotations

import asyncio

import pytest
from devstack import Postgres
from kernel.errors import Unavailable
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application.group_commit import GroupCommit
from registry.ports.event_store import Append, Status

from tests.support.appending import group_commit_over
from tests.support.recomputed_chain import assert_sound
from tests.support.registry import append_of, fresh_database

WRITERS = 32
BETWEEN_KILLS = 500
EVENTS = 2
TIMEOUT_S = 300.0


class _Writers:
    """Each appends to fresh streams until it is told to stop; what is acknowledged is noted."""

    def __init__(self, group_commit: GroupCommit) -> None:
        self.acknowledged: list[Append] = []
        self._group_commit = group_commit
        self._more = asyncio.Condition()
        self._stopped = False

    async def reach(self, count: int) -> None:
        async with self._more:
            await self._more.wait_for(lambda: len(self.acknowledged) >= count)

    def stop(self) -> None:
        self._stopped = True

    async def write(self, number: int) -> None:
        while not self._stopped:
            item = append_of(EVENTS, claims=(f"name/{number}/{len(self.acknowledged)}",))
            outcome = await self._group_commit.append(item)
            assert outcome.status in {Status.STORED, Status.REPLAYED}, outcome
            async with self._more:
                self.acknowledged.append(item)
                self._more.notify_all()


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.fault)])
@pytest.mark.timeout(TIMEOUT_S)
async def test_no_acknowledged_command_is_lost_and_none_is_stored_twice(
    own_postgres: Postgres, kills: int
) -> None:
    database = await fresh_database(own_postgres)
    async with (
        PostgresEventStore(database.log_dsn) as store,
        group_commit_over(store) as group_commit,
        asyncio.timeout(TIMEOUT_S),
    ):
        writers = _Writers(group_commit)
        writing = [asyncio.create_task(writers.write(number)) for number in range(WRITERS)]
        for kill in range(kills):
            await writers.reach((kill + 1) * BETWEEN_KILLS)
            own_postgres.kill()
            await own_postgres.restart()
        await writers.reach((kills + 1) * BETWEEN_KILLS)
        writers.stop()
        await asyncio.gather(*writing)
        again = [await group_commit.append(item) for item in writers.acknowledged]
        assert {outcome.status for outcome in again} == {Status.REPLAYED}
        await _warm_up(store)
        events = await assert_sound(store)
    assert len(events) == EVENTS * len(writers.acknowledged), "once, and whole"
    assert {event.stream_id for event in events} == {
        item.stream_id for item in writers.acknowledged
    }


async def _warm_up(store: PostgresEventStore) -> None:
    """Readers may hold connections to a server that died: each is noticed by its next use."""
    while True:
        try:
            await store.head()
        except Unavailable:
            continue
        return
