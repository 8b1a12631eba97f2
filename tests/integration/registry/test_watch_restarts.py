"""A follower's catalog stays whole while what it follows is killed under it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import grpc.aio
import pytest
from catalog.follow import CatalogFollower
from devstack import Postgres
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from registry.application import log_head
from servicekit.clock import monotonic_s

from tests.support.registry import Database, account_request, fresh_database, served
from tests.support.registry_process import registry_process

TIMEOUT_S = 90.0
LIVE_WITHIN_S = 5.0
CALL_TIMEOUT_S = 5.0
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
ACCOUNTS = 90
KILLED_AT = (30, 60)


@pytest.fixture
async def own_postgres() -> AsyncIterator[Postgres]:
    """A server that this test may kill."""
    server = Postgres()
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


class Following:
    """A follower in its task; every position that its catalog had, in order."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.follower = CatalogFollower(channel, clock=monotonic_s)
        self.positions: list[int] = []
        self._tasks = [
            asyncio.create_task(self.follower.run()),
            asyncio.create_task(self._note()),
        ]

    async def _note(self) -> None:
        async for position in self.follower.changes():
            self.positions.append(position)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


async def test_a_follower_survives_kill_9_of_the_registry_and_of_postgresql_in_mid_stream(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    database = await fresh_database(own_postgres)
    async with registry_process(database, tmp_path) as registry, registry.channel() as channel:
        following = Following(channel)
        try:
            written = asyncio.create_task(_write(channel, ACCOUNTS))
            await following.follower.wait_for(KILLED_AT[0], timeout_s=TIMEOUT_S)
            registry.kill()
            await registry.start()
            await following.follower.wait_for(KILLED_AT[1], timeout_s=TIMEOUT_S)
            own_postgres.kill()
            await own_postgres.restart()
            async with asyncio.timeout(TIMEOUT_S):
                position = await written
            await following.follower.wait_for(position, timeout_s=TIMEOUT_S)
        finally:
            await following.end()
        catalog = following.follower.catalog
        names = [account.username for account in catalog.accounts()]
        assert names == [f"user{number}" for number in range(ACCOUNTS)], "once each, in order"
        assert catalog.position == position == ACCOUNTS
        assert following.positions == sorted(set(following.positions)), "it only ever grew"


async def test_the_registry_listens_again_by_itself(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_head, "POLL_S", 600.0)  # nothing but NOTIFY can tell
    async with (
        served(database, tmp_path) as one,
        served(database, tmp_path) as other,
        one.client() as writer,
        other.client() as reader,
    ):
        batches = aiter(reader.Watch(pb.WatchRequest()))
        await writer.CreateAccount(account_request("before"))
        await _reach(batches, 1)
        assert await _cut_off(database) >= 4, "two that listen, readers and writers"
        await _write_one(writer, account_request("first"))
        await _reach(batches, 2)
        await writer.CreateAccount(account_request("second"))
        await _reach(batches, 3)


async def _reach(batches: Any, position: int) -> None:
    async with asyncio.timeout(LIVE_WITHIN_S):
        while (await anext(batches)).to_position < position:
            pass


async def _cut_off(database: Database) -> int:
    """Terminate every backend of a registry in this database; how many."""
    connection = await asyncpg.connect(database.owner_dsn, timeout=CALL_TIMEOUT_S)
    try:
        rows = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'eventflows-registry' AND datname = current_database()"
        )
    finally:
        await connection.close()
    return len(rows)


async def _write(channel: grpc.aio.Channel, accounts: int) -> int:
    """One account after the other, each sent until it is answered; the last position."""
    registry = RegistryStub(channel)
    position = 0
    for number in range(accounts):
        position = await _write_one(registry, account_request(f"user{number}"))
    return position


async def _write_one(registry: Any, request: pb.CreateAccountRequest) -> int:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                answer = await registry.CreateAccount(request, timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() not in AWAY:
                    raise
            else:
                return int(answer.position)
