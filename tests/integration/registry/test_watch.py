"""`Watch`: what was missed, then what comes, without a gap, over restarts of PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from devstack import Postgres
from eventflows.registry.v1 import registry_pb2 as pb

from tests.support.registry import (
    Database,
    Served,
    account_request,
    fresh_database,
    refusal,
    served,
)

TIMEOUT_S = 60.0
LIVE_WITHIN_S = 5.0


class Follower:
    """Reads a Watch stream as a service does, and checks each batch against the one before."""

    def __init__(self, batches: Any, position: int = 0) -> None:
        self._batches = aiter(batches)
        self.position = position
        self.names: list[str] = []
        self.heartbeats = 0

    async def next(self) -> pb.WatchBatch:
        batch: pb.WatchBatch = await anext(self._batches)
        assert batch.from_position == self.position
        assert batch.to_position <= batch.head_position
        positions = [event.position for event in batch.events]
        assert positions == list(range(batch.from_position + 1, batch.to_position + 1))
        if not positions:
            assert batch.from_position == batch.to_position == batch.head_position
            self.heartbeats += 1
        self.position = batch.to_position
        self.names += [event.event.account_created.username for event in batch.events]
        return batch

    async def reach(self, position: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while self.position < position:
                await self.next()


async def test_what_was_missed_comes_first_then_what_happens(registry: Served) -> None:
    async with registry.client() as client:
        await asyncio.gather(*(client.CreateAccount(account_request(f"u{n}")) for n in range(30)))
        follower = Follower(client.Watch(pb.WatchRequest()))
        await follower.reach(30)
        assert set(follower.names) == {f"u{n}" for n in range(30)}
        for number in range(5):
            await client.CreateAccount(account_request(f"live{number}"))
            async with asyncio.timeout(LIVE_WITHIN_S):
                await follower.reach(31 + number)
        assert follower.names[30:] == [f"live{number}" for number in range(5)]


async def test_a_watch_begins_after_the_given_position(registry: Served) -> None:
    async with registry.client() as client:
        for number in range(4):
            await client.CreateAccount(account_request(f"u{number}"))
        follower = Follower(client.Watch(pb.WatchRequest(after_position=2)), position=2)
        await follower.reach(4)
        assert follower.names == ["u2", "u3"]


async def test_an_idle_log_beats(registry: Served) -> None:
    async with registry.client() as client, asyncio.timeout(LIVE_WITHIN_S):
        follower = Follower(client.Watch(pb.WatchRequest()))
        for _ in range(4):
            await follower.next()
        assert follower.heartbeats == 4


async def test_a_position_that_the_log_never_had_is_refused(registry: Served) -> None:
    async with registry.client() as client:
        call = client.Watch(pb.WatchRequest(after_position=7))
        status, _ = await refusal(anext(aiter(call)))
        assert status is grpc.StatusCode.FAILED_PRECONDITION
        negative = client.Watch(pb.WatchRequest(after_position=-1))
        status, _ = await refusal(anext(aiter(negative)))
        assert status is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_page_stays_below_its_limit_and_loses_nothing(registry: Served) -> None:
    async with registry.client() as client:
        fields = dict.fromkeys(("fullname", "company_name", "company_role"), "é" * 255)
        await asyncio.gather(
            *(client.CreateAccount(account_request(f"u{n}", **fields)) for n in range(200))
        )
        follower = Follower(client.Watch(pb.WatchRequest()))
        first = await follower.next()
        assert 0 < len(first.events) < 200
        assert first.ByteSize() < 1024 * 1024
        await follower.reach(200)


async def test_every_process_hears_of_every_append(database: Database, tmp_path: Path) -> None:
    async with served(database, tmp_path) as one, served(database, tmp_path) as other:
        async with one.client() as writer, other.client() as reader:
            follower = Follower(reader.Watch(pb.WatchRequest()))
            await follower.next()
            for number in range(3):
                await writer.CreateAccount(account_request(f"u{number}"))
                async with asyncio.timeout(LIVE_WITHIN_S):
                    await follower.reach(number + 1)
            assert follower.names == ["u0", "u1", "u2"]


async def test_watchers_are_counted_and_let_go(registry: Served) -> None:
    async with registry.client() as client:
        call = client.Watch(pb.WatchRequest())
        await anext(aiter(call))
        assert registry.collector.get_sample_value("registry_watchers") == 1
        call.cancel()
        async with asyncio.timeout(TIMEOUT_S):
            while registry.collector.get_sample_value("registry_watchers") != 0:
                await client.GetHead(pb.GetHeadRequest())


@pytest.fixture
async def own_postgres() -> AsyncIterator[Postgres]:
    """A server that this test may kill."""
    server = Postgres()
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def test_a_watch_stays_open_without_a_gap_while_postgresql_restarts(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    database = await fresh_database(own_postgres)
    async with served(database, tmp_path) as registry, registry.client() as client:
        follower = Follower(client.Watch(pb.WatchRequest()))
        await client.CreateAccount(account_request("before"))
        await follower.reach(1)
        own_postgres.kill()
        calling = asyncio.create_task(_until_answered(client, account_request("meanwhile")))
        await own_postgres.restart()
        assert (await calling).version == 1
        await follower.reach(2)
        await client.CreateAccount(account_request("after"))
        async with asyncio.timeout(LIVE_WITHIN_S):
            await follower.reach(3)
        assert follower.names == ["before", "meanwhile", "after"]


async def test_a_stopping_registry_ends_its_watches(database: Database, tmp_path: Path) -> None:
    async with served(database, tmp_path) as registry:
        async with registry.client() as client:
            call = client.Watch(pb.WatchRequest())
            await anext(aiter(call))
            ended = asyncio.create_task(_end_of(call))
            registry.stop.set()
            async with asyncio.timeout(LIVE_WITHIN_S):
                assert await ended is grpc.StatusCode.UNAVAILABLE


async def _until_answered(client: Any, request: pb.CreateAccountRequest) -> pb.CommandResult:
    """The same command id again and again, as a careful caller does."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                result: pb.CommandResult = await client.CreateAccount(request, timeout=5.0)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            else:
                return result


async def _end_of(call: Any) -> grpc.StatusCode | None:
    """The status with which a stream ends."""
    try:
        async for _ in call:
            continue
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None
