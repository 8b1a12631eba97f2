"""What our own memory of positions promises, asked of memory and of our Kafka."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from devstack import Kafka
from kernel.errors import Unavailable
from router.adapters import positions_topic
from router.adapters.internal_topics import POSITIONS_TOPIC, ensure_internal_topics
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.memory_positions import MemoryPositions, Store
from router.adapters.positions_topic import PositionsTopic
from router.adapters.system_clock import SystemClock
from router.domain.beginning import Place
from router.domain.low_water import Mark
from router.domain.topic_identity import TopicIdentity
from router.ports import Positions

from tests.support.router_sources import connection_of

OpenWorker = Callable[[], AbstractAsyncContextManager[Positions]]
IDENTITY = TopicIdentity(topic_id="0" * 31 + "7", partitions=4)
WAIT_S = 20.0


def place(position: int) -> Place:
    return Place(mark=Mark(position=position), identity=IDENTITY)


@pytest.fixture(params=["memory", "kafka"])
def open_worker(request: pytest.FixtureRequest) -> OpenWorker:
    """Opens the memory of one more worker of the same cluster."""
    if request.param == "memory":
        store: Store = {}
        return lambda: _memory_worker(store)
    kafka = request.getfixturevalue("kafka")
    return lambda: kafka_worker(kafka)


@asynccontextmanager
async def _memory_worker(store: Store) -> AsyncIterator[Positions]:
    yield MemoryPositions(store)


@asynccontextmanager
async def kafka_worker(kafka: Kafka) -> AsyncIterator[PositionsTopic]:
    """The memory of a worker, reading and writing."""
    await ensure_internal_topics(kafka.bootstrap_servers)
    producers = KafkaProducers()
    positions = PositionsTopic(
        internal=connection_of(kafka),
        client_id="worker",
        producers=producers,
        clock=SystemClock(),
    )
    running = asyncio.create_task(positions.run())
    try:
        yield positions
    finally:
        running.cancel()
        await asyncio.wait({running})
        await producers.close()


@pytest.fixture
def group() -> str:
    return f"eventflows-{uuid.uuid4().hex}"


async def test_nothing_is_remembered_of_a_group_that_was_never_seen(
    open_worker: OpenWorker, group: str
) -> None:
    async with open_worker() as worker:
        assert dict(await worker.recall(group, "topic")) == {}


async def test_what_was_flushed_is_recalled_by_every_worker(
    open_worker: OpenWorker, group: str
) -> None:
    async with open_worker() as first:
        first.remember(group, "topic", {0: place(5), 1: place(7)})
        first.remember(group, "topic", {1: place(9)})
        first.remember(group, "other-topic", {0: place(1)})
        await first.flush()
        assert dict(await first.recall(group, "topic")) == {0: place(5), 1: place(9)}
    async with open_worker() as second:
        assert dict(await second.recall(group, "topic")) == {0: place(5), 1: place(9)}


async def test_what_is_finished_above_a_position_is_left_out(
    open_worker: OpenWorker, group: str
) -> None:
    async with open_worker() as worker:
        mark = Mark(position=5, finished=((7, 9),))
        worker.remember(group, "topic", {0: Place(mark=mark, identity=None)})
        await worker.flush()
        assert dict(await worker.recall(group, "topic")) == {
            0: Place(mark=Mark(position=5), identity=None)
        }


async def test_flushing_nothing_is_harmless(open_worker: OpenWorker) -> None:
    async with open_worker() as worker:
        await worker.flush()
        await worker.flush()


async def test_what_was_noted_is_written_without_a_flush_and_heard_by_the_others(
    kafka: Kafka, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions_topic, "WRITE_INTERVAL_S", 0.05)
    async with kafka_worker(kafka) as first, kafka_worker(kafka) as second:
        assert dict(await second.recall(group, "topic")) == {}
        first.remember(group, "topic", {3: place(11)})
        async with asyncio.timeout(WAIT_S):
            while not await second.recall(group, "topic"):
                await asyncio.sleep(0.01)
        assert dict(await second.recall(group, "topic")) == {3: place(11)}


async def test_silence_is_not_taken_for_a_first_start(
    kafka: Kafka, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions_topic, "RECALL_TIMEOUT_S", 0.05)
    worker = PositionsTopic(
        internal=connection_of(kafka, bootstrap_servers=("127.0.0.1:1",)),
        client_id="worker",
        producers=KafkaProducers(),
        clock=SystemClock(),
    )
    with pytest.raises(Unavailable, match="not told yet where the flow stood"):
        await worker.recall(group, "topic")


async def test_an_entry_of_another_release_is_passed_over(kafka: Kafka, group: str) -> None:
    await ensure_internal_topics(kafka.bootstrap_servers)
    async with AIOKafkaProducer(**kafka.client_settings()) as producer:
        for key, value in ((b"no json", b"{}"), (b'["g", "t", 0]', b'{"other": 1}'), (b"x", b"")):
            await producer.send_and_wait(POSITIONS_TOPIC, key=key, value=value)
    async with kafka_worker(kafka) as worker:
        worker.remember(group, "topic", {0: place(1)})
        await worker.flush()
    async with kafka_worker(kafka) as worker:
        assert dict(await worker.recall(group, "topic")) == {0: place(1)}
