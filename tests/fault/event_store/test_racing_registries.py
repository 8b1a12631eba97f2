"""Processes append to the same streams at once: every version is somebody's, nobody's twice."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from devstack import Postgres
from registry.adapters.postgres_event_store import PostgresEventStore

from tests.support.append_process import Task, acknowledged_by_process
from tests.support.recomputed_chain import assert_sound
from tests.support.registry import fresh_database

TIMEOUT_S = 120.0


@pytest.mark.parametrize(
    ("processes", "commands"), [(2, 10), pytest.param(4, 200, marks=pytest.mark.fault)]
)
async def test_processes_that_race_for_the_same_streams_share_their_versions(
    postgres: Postgres, processes: int, commands: int
) -> None:
    database = await fresh_database(postgres)
    stream_ids = [str(uuid4()) for _ in range(4)]
    task = Task(dsn=database.log_dsn, stream_ids=stream_ids, writers=8, commands=commands)
    async with asyncio.timeout(TIMEOUT_S):
        answers = await asyncio.gather(*(acknowledged_by_process(task) for _ in range(processes)))
    acknowledged = sorted(
        (position, stream_id, version)
        for answer in answers
        for _, stream_id, version, position in answer
    )
    assert len(acknowledged) == processes * task.writers * task.commands
    async with PostgresEventStore(database.log_dsn) as store:
        events = await assert_sound(store)
        assert acknowledged == [(e.position, e.stream_id, e.version) for e in events]
        for command_id, _, version, position in (one for answer in answers for one in answer):
            command = await store.find_command(command_id)
            assert command is not None
            assert (command.version, command.position) == (version, position)
