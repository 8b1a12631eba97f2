"""Workers find each other through a compacted topic of a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from devstack import Kafka
from kernel.errors import Unavailable
from router.adapters.internal_topics import ensure_internal_topics
from router.adapters.worker_directory import ENTRY_AGE_MAX_S, WorkerDirectory
from router.control_ports import WorkerEntry
from servicekit.settings import HostPort

from tests.support.manual_clock import ManualClock
from tests.support.produce import produce_values

POLL_S = 0.02
WAIT_S = 10.0


class RealDate(ManualClock):
    """Time stands still, but the date is the broker's."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest_asyncio.fixture
async def topics(kafka: Kafka) -> Kafka:
    """The shared Kafka with our internal topics."""
    await ensure_internal_topics(kafka.bootstrap_servers)
    return kafka


@asynccontextmanager
async def directory(kafka: Kafka, name: str, clock: ManualClock) -> AsyncIterator[WorkerDirectory]:
    """One worker's directory, reading."""
    one = WorkerDirectory(bootstrap_servers=kafka.bootstrap_servers, worker_id=name, clock=clock)
    one.address = HostPort("127.0.0.1", 7001)
    reading = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        await one.leave()
        reading.cancel()
        await asyncio.wait({reading})


async def until_known(one: WorkerDirectory, name: str, entry: WorkerEntry | None) -> None:
    """Wait until this is what the directory knows of the worker."""
    async with asyncio.timeout(WAIT_S):
        while {w.worker_id: w for w in one.others()}.get(name) != entry:
            await asyncio.sleep(POLL_S)


async def test_workers_hear_of_each_other_and_of_changes_and_of_leaving(topics: Kafka) -> None:
    clock = RealDate()
    one, two = (f"{name}-{uuid4()}" for name in ("one", "two"))
    async with directory(topics, one, clock) as here, directory(topics, two, clock) as there:
        await there.announce({1, 2})
        entry = WorkerEntry(worker_id=two, address="127.0.0.1:7001", shards=frozenset({1, 2}))
        await until_known(here, two, entry)
        await there.announce({3})
        await until_known(
            here,
            two,
            WorkerEntry(worker_id=two, address="127.0.0.1:7001", shards=frozenset({3})),
        )
        await until_known(there, two, None)  # itself
        await there.leave()
        await until_known(here, two, None)


async def test_a_worker_that_starts_later_reads_what_was_said_before(topics: Kafka) -> None:
    clock = RealDate()
    one, two = (f"{name}-{uuid4()}" for name in ("one", "two"))
    async with directory(topics, one, clock) as early:
        await early.announce({7})
        async with directory(topics, two, clock) as late:
            entry = WorkerEntry(worker_id=one, address="127.0.0.1:7001", shards=frozenset({7}))
            await until_known(late, one, entry)


async def test_a_worker_that_is_silent_for_too_long_counts_as_dead(topics: Kafka) -> None:
    clock = RealDate()
    one, two = (f"{name}-{uuid4()}" for name in ("one", "two"))
    async with directory(topics, one, clock) as here, directory(topics, two, clock) as there:
        await there.announce({1})
        entry = WorkerEntry(worker_id=two, address="127.0.0.1:7001", shards=frozenset({1}))
        await until_known(here, two, entry)
        clock.advance(ENTRY_AGE_MAX_S + 1)
        assert two not in {worker.worker_id for worker in here.others()}
        await there.announce({1})
        await until_known(here, two, entry)


async def test_a_consumer_that_does_not_end_does_not_keep_the_worker(
    topics: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def never(self: AIOKafkaConsumer) -> None:
        asked.set()
        self._closed = True  # as the real one does first
        await asyncio.Event().wait()

    clock = RealDate()
    one, two = (f"{name}-{uuid4()}" for name in ("one", "two"))
    here = WorkerDirectory(bootstrap_servers=topics.bootstrap_servers, worker_id=one, clock=clock)
    reading = asyncio.create_task(here.run())
    async with directory(topics, two, clock) as there:
        await there.announce({1})
        entry = WorkerEntry(worker_id=two, address="127.0.0.1:7001", shards=frozenset({1}))
        await until_known(here, two, entry)
        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaConsumer, "stop", never)
            reading.cancel()
            async with asyncio.timeout(WAIT_S):
                await asyncio.wait({reading})
    assert asked.is_set()
    assert reading.cancelled()


async def test_entries_that_nobody_understands_are_passed_over(topics: Kafka) -> None:
    clock = RealDate()
    one, two = (f"{name}-{uuid4()}" for name in ("one", "two"))
    bad = [b"", b"no json", b"[]", b'{"address": "x", "shards": []}', b'{"address": "a:1"}']
    bad += [b'{"address": "a:1", "shards": [64]}', b'{"address": "a:1", "shards": ["x"]}']
    async with directory(topics, one, clock) as here, directory(topics, two, clock) as there:
        await produce_values(
            topics, "router.workers", [(f"bad-{uuid4()}".encode(), value) for value in bad]
        )
        await there.announce({1})
        entry = WorkerEntry(worker_id=two, address="127.0.0.1:7001", shards=frozenset({1}))
        await until_known(here, two, entry)
        assert not [w for w in here.others() if w.worker_id.startswith("bad-")]


async def test_an_announcement_that_kafka_does_not_take_is_an_error() -> None:
    one = WorkerDirectory(bootstrap_servers="127.0.0.1:9", worker_id="one", clock=ManualClock())
    await one.announce({1})  # no address yet: nothing to tell
    one.address = HostPort("127.0.0.1", 7001)
    with pytest.raises(Unavailable):
        await one.announce({1})
    await one.leave()
