"""Many watchers, and watchers that stop reading: one process bears both."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from registry.adapters.postgres_event_store import PostgresEventStore

from tests.support.long_log import fill
from tests.support.registry import Database, Served, account_request
from tests.support.registry_process import registry_process

TIMEOUT_S = 100.0
WATCHERS = 200
EVENTS = 1_000
CALLERS = 20

STOPPED = 20
FLOOD_EVENTS = 100_000
FLOOD_TOPICS = 300
FLOOD_BYTES_MIN = 25 * 1024 * 1024
GROWTH_BYTES_MAX = 120 * 1024 * 1024
"""The catalog, the kept pages and Python's own; queued for 20 readers the flood is 660 MiB."""


async def test_200_watchers_of_one_process_see_every_event_in_order(registry: Served) -> None:
    async with registry.client() as client:
        watching = [asyncio.create_task(_watch(client, EVENTS)) for _ in range(WATCHERS)]
        numbers = iter(range(EVENTS))

        async def call() -> None:
            for number in numbers:
                await client.CreateAccount(account_request(f"user{number}"))

        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*(call() for _ in range(CALLERS)))
            seen = await asyncio.gather(*watching)
        (first, *others) = seen
        assert sorted(first) == sorted(f"user{number}" for number in range(EVENTS))
        assert all(other == first for other in others)


async def test_readers_that_stop_reading_cost_the_server_no_memory_and_resume_without_a_gap(
    database: Database, tmp_path: Path
) -> None:
    async with registry_process(database, tmp_path) as registry:
        assert registry.process is not None
        server = psutil.Process(registry.process.pid)
        async with AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(registry.channel()) for _ in range(STOPPED)]
            calls: list[Any] = [
                RegistryStub(channel).Watch(pb.WatchRequest()) for channel in channels
            ]
            for call in calls:
                assert (await call.read()).to_position == 0  # and no more for now
            before_bytes = server.memory_info().rss
            async with PostgresEventStore(database.log_dsn) as store:
                await fill(store, FLOOD_EVENTS, topics=FLOOD_TOPICS)
            async with registry.channel("router") as channel:
                await _drained(RegistryStub(channel).Watch(pb.WatchRequest()), 0)
            grown_bytes = server.memory_info().rss - before_bytes
            read_bytes = [await _drained(call, 0) for call in calls[:2]]
    assert min(read_bytes) > FLOOD_BYTES_MIN, "it was a flood"
    assert grown_bytes < GROWTH_BYTES_MAX


async def _watch(client: Any, last: int) -> list[str]:
    """Names in the order in which they came."""
    names: list[str] = []
    position = 0
    async for batch in client.Watch(pb.WatchRequest()):
        assert batch.from_position == position
        assert len(batch.events) == batch.to_position - batch.from_position
        position = batch.to_position
        names += [event.event.account_created.username for event in batch.events]
        if position == last:
            break
    return names


async def _drained(call: Any, position: int) -> int:
    """Read up to the end of the flood; bytes that came."""
    size_bytes = 0
    async with asyncio.timeout(TIMEOUT_S):
        while position < FLOOD_EVENTS:
            batch = await call.read()
            assert batch.from_position == position
            positions = [batch.from_position, *(event.position for event in batch.events)]
            assert all(after == before + 1 for before, after in pairwise(positions))
            position = batch.to_position
            size_bytes += batch.ByteSize()
    return size_bytes
