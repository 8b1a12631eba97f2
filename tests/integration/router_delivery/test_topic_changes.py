"""What a flow does when its topic is deleted, made anew or grows, or its group is forgotten."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio
from devstack import Kafka
from kernel.errors import NotFound
from router.adapters import kafka_topics
from router.adapters.kafka_source import KafkaSource
from router.adapters.memory_target import MemoryTarget
from router.domain.errors import PositionLost
from router.domain.low_water import Mark
from router.domain.run_mode import RunMode
from router.domain.status import PumpState
from router.domain.topic_identity import TopicIdentity

from tests.support.kafka_clients import admin
from tests.support.router_kafka_pumps import kafka_pump
from tests.support.router_sources import KafkaTopic, Reader, kafka_topic, reading

WAIT_S = 20.0


@pytest_asyncio.fixture(loop_scope="session")
async def topic(customer_kafka: Kafka) -> AsyncIterator[KafkaTopic]:
    async with kafka_topic(customer_kafka, 2) as made:
        yield made


async def delete(kafka: Kafka, topic: KafkaTopic) -> None:
    """Return once the broker has forgotten the topic."""
    async with admin(kafka) as client:
        await client.delete_topics([topic.name])
    async with asyncio.timeout(WAIT_S):
        while topic.name in await kafka.topics():
            await asyncio.sleep(0.02)


async def make_anew(kafka: Kafka, topic: KafkaTopic, *, records: int) -> None:
    """Delete the topic and make another one of its name, with records of its own."""
    await delete(kafka, topic)
    await kafka.create_topic(topic.name, 2)
    for number in range(records):
        await topic.append(f"new {number}".encode())


async def read_and_settle(topic: KafkaTopic, count: int) -> None:
    """A flow that has read, and has ended."""
    for number in range(count):
        await topic.append(f"old {number}".encode())
    async with reading(topic) as reader:
        await reader.read(count)
        await reader.settle(count)


async def test_a_topic_that_was_made_anew_is_not_read_before_a_person_says_where_to_begin(
    customer_kafka: Kafka, topic: KafkaTopic
) -> None:
    await read_and_settle(topic, 3)
    await make_anew(customer_kafka, topic, records=5)
    assert await topic.committed() is None, "the broker forgot the commit with the topic"
    source = topic.source()
    reader = Reader(source)
    try:
        await source.open(reader)
        with pytest.raises(PositionLost, match="deleted and made anew") as caught:
            await reader.read(1)
        assert topic.group_id in caught.value.message
        assert "--reset-offsets" in caught.value.message
    finally:
        await source.close()
    assert reader.deliveries == []
    await topic.commit(2)
    await topic.commit(0, partition=1)
    async with reading(topic) as reader:
        await reader.read(3)
        assert reader.values == [b"new 2", b"new 3", b"new 4"]


async def test_a_running_flow_reads_nothing_of_a_topic_that_was_made_anew(
    customer_kafka: Kafka, topic: KafkaTopic
) -> None:
    await topic.append(b"old")
    target = MemoryTarget()
    async with kafka_pump(topic, target) as running:
        await running.until_settled(1)
        await make_anew(customer_kafka, topic, records=10)
        status = await running.until_state(PumpState.FAILED)
        assert "deleted and made anew" in status.reason
    assert target.values == [b"old"]


async def test_news_that_comes_while_a_receive_waits_is_looked_at_before_records_are_handed_out(
    topic: KafkaTopic,
) -> None:
    async with reading(topic) as reader:
        source = reader.source
        assert isinstance(source, KafkaSource)
        assert source._positions is not None
        receiving = asyncio.create_task(source.receive(wait_s=WAIT_S, records_max=10))
        await asyncio.sleep(0)
        source._positions.identity = TopicIdentity(topic_id=UUID(int=1).hex, partitions=2)
        source._on_metadata(None)
        await topic.append(b"of another topic")
        assert list(await receiving) == []
        with pytest.raises(PositionLost, match="deleted and made anew"):
            await reader.read(1)
    assert reader.deliveries == []


async def test_a_topic_that_is_deleted_under_a_running_flow_is_told(
    customer_kafka: Kafka, topic: KafkaTopic
) -> None:
    async with reading(topic) as reader:
        await delete(customer_kafka, topic)
        with pytest.raises(NotFound, match="does not exist"):
            await reader.until(lambda: False)


async def test_an_old_position_of_a_new_topic_that_was_committed_in_time_is_found_out(
    customer_kafka: Kafka, topic: KafkaTopic
) -> None:
    """A call that ends after its topic was made anew: the broker takes the commit by the name."""
    await read_and_settle(topic, 3)
    async with admin(customer_kafka) as client:
        offsets = await client.list_consumer_group_offsets(topic.group_id)
    (old,) = [o for p, o in offsets.items() if p.partition == 0]
    await make_anew(customer_kafka, topic, records=5)
    await topic.commit(3, metadata=old.metadata)
    topic.positions._store.clear()
    source = topic.source()
    reader = Reader(source)
    try:
        await source.open(reader)
        with pytest.raises(PositionLost, match="deleted and made anew"):
            await reader.read(1)
    finally:
        await source.close()


async def test_a_group_that_the_cluster_forgot_goes_on_where_we_remember(
    topic: KafkaTopic,
) -> None:
    await read_and_settle(topic, 3)
    await topic.append(b"new")
    await topic.forget_group()
    assert await topic.committed() is None
    async with reading(topic) as reader:
        assert reader.positions == {0: 3, 1: 0}
        await reader.read(1)
        assert reader.values == [b"new"]
    assert await topic.committed() == 3, "and it is committed again"


async def test_nothing_is_read_while_nobody_remembers_where_the_flow_stood(
    topic: KafkaTopic,
) -> None:
    await read_and_settle(topic, 1)
    await topic.forget_group()
    topic.positions.away = "our own Kafka is away"
    source = topic.source()
    reader = Reader(source)
    try:
        await source.open(reader)
        with pytest.raises(Exception, match="our own Kafka is away"):
            await reader.read(1)
    finally:
        await source.close()
    topic.positions.away = None
    async with reading(topic) as reader:
        assert reader.positions == {0: 1, 1: 0}


async def test_an_assignment_that_ends_is_remembered_durably(topic: KafkaTopic) -> None:
    await topic.append(b"one")
    async with reading(topic) as reader:
        await reader.read(1)
        await reader.source.settle({0: Mark(position=1)}, epoch=reader.epoch)
    (kept,) = topic.positions._store.values()
    assert kept[0].mark == Mark(position=1)
    assert kept[0].identity is not None
    assert len(kept[0].identity.topic_id) == 32


async def test_a_cluster_that_gives_topics_no_ids_is_read_all_the_same(
    topic: KafkaTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_topics._Question, "API_VERSION", 99)
    await read_and_settle(topic, 2)
    await topic.append(b"new")
    async with reading(topic) as reader:
        await reader.read(1)
        assert reader.values == [b"new"]
    (kept,) = topic.positions._store.values()
    assert {place.identity.topic_id for place in kept.values() if place.identity} == {""}


async def test_completions_that_expire_during_a_pause_are_counted_and_the_flow_goes_on(
    topic: KafkaTopic,
) -> None:
    topic.be_ours()
    await topic.append(b"before")
    target = MemoryTarget()
    async with kafka_pump(topic, target) as running:
        await running.until_settled(1)
        running.pump.steer(RunMode.PAUSED, 0)
        for _ in range(10):
            await topic.append(bytes(500_000))  # more than is fetched while it is paused
        await topic.expire(11)
        running.pump.steer(RunMode.RUNNING, 1)
        await topic.append(b"after")
        await running.until_value(target, b"after")
        status = await running.until_state(PumpState.RUNNING)
        assert 1 <= status.expired_total <= 10
        assert status.expired_total == 12 - len(target.values), "each ran or was counted"


@pytest.mark.parametrize("is_left", [True, False])
async def test_completions_that_expired_before_the_flow_was_enabled_are_no_loss_where_it_shows(
    topic: KafkaTopic, is_left: bool
) -> None:
    topic.be_ours()
    await topic.commit(0)
    now = datetime.now(UTC)
    topic.wanted_since = now + timedelta(hours=1)
    for _ in range(5):
        await topic.append(b"old", timestamp_ms=int(now.timestamp() * 1_000))
    await topic.expire(4 if is_left else 5)
    async with reading(topic) as reader:
        assert reader.expired == (0 if is_left else 5)
    topic.wanted_since = now - timedelta(hours=1)
    await topic.commit(0)
    async with reading(topic) as reader:
        assert reader.expired == (4 if is_left else 5)
