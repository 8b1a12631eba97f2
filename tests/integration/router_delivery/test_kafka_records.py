"""Records out of the ordinary: transactions, tombstones, headers of all kinds, great sizes."""

import asyncio
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from devstack import Kafka
from kernel.errors import Unavailable
from router.adapters import kafka_fetch_exchange
from router.adapters.kafka_source import KafkaSource

from tests.support.kafka_clients import admin
from tests.support.router_sources import (
    WAIT_S,
    KafkaTopic,
    Reader,
    kafka_source,
    kafka_topic,
    reading,
)

LARGE_BYTES = 15 * 1024 * 1024
"""More than is fetched of a partition at once."""


def committed_only(topic: KafkaTopic) -> Reader:
    """A reader that leaves out what was not committed."""
    spec = topic.spec()
    spec = replace(spec, source=replace(spec.source, read_committed=True))
    return Reader(kafka_source(spec, topic.connection, positions=topic.positions))


async def test_read_committed_leaves_out_what_was_aborted_or_is_open(kafka: Kafka) -> None:
    async with kafka_topic(kafka) as topic:
        settings = kafka.client_settings()
        producer = AIOKafkaProducer(**settings, transactional_id=topic.name)
        reader, everything = committed_only(topic), Reader(topic.source())
        everything.source = kafka_source(
            replace(topic.spec(), source=replace(topic.spec().source, group_id="other")),
            topic.connection,
        )
        async with producer:
            await producer.begin_transaction()
            await producer.send_and_wait(topic.name, b"aborted")
            await producer.abort_transaction()
            async with producer.transaction():
                await producer.send_and_wait(topic.name, b"committed")
            await producer.begin_transaction()
            await producer.send_and_wait(topic.name, b"open")
            try:
                await reader.source.open(reader)
                await everything.source.open(everything)
                await asyncio.gather(reader.read(1), everything.read(3))
                assert reader.values == [b"committed"]
                assert everything.values == [b"aborted", b"committed", b"open"]
                position = reader.deliveries[0].offset + 1
                assert (await reader.source.lag({0: position})).records == 0
                assert (await everything.source.lag({0: position})).records > 0
                await producer.commit_transaction()
                await reader.read(1)
                assert reader.values == [b"committed", b"open"]
            finally:
                await reader.source.close()
                await everything.source.close()


async def test_a_record_larger_than_a_fetch_is_read_and_those_behind_it(kafka: Kafka) -> None:
    async with kafka_topic(kafka) as topic:
        await topic.append(b"before")
        await topic.append(b"x" * LARGE_BYTES)
        await topic.append(b"after")
        async with reading(topic) as reader:
            await reader.read(3)
            assert [len(value or b"") for value in reader.values] == [6, LARGE_BYTES, 5]


async def test_headers_are_kept_as_they_are(kafka: Kafka) -> None:
    headers = (("a", b"1"), ("a", b"2"), ("", b"\xff\x00"), ("ключ", b""))
    async with kafka_topic(kafka) as topic:
        await topic.append(b"x", headers=headers)
        async with reading(topic) as reader:
            (record,) = await reader.read(1)
            assert record.headers == headers


class _OddName(str):
    """A header's name as only a client of another language can write it."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff"


async def append_odd(kafka: Kafka, topic: KafkaTopic) -> None:
    """A record whose header aiokafka cannot read, in a batch of its own in partition 0."""
    batch = _DefaultRecordBatchBuilderPy(2, 0, False, -1, -1, -1, 10_000)
    batch.append(0, 1, b"k", b"odd", [(_OddName("x"), b"v")])
    request = ProduceRequest(None, -1, 5_000, [(topic.name, [(0, bytes(batch.build()))])])
    async with admin(kafka) as client, asyncio.timeout(WAIT_S):
        code = -1
        while code != 0:  # a new partition has no leader for a moment
            node = client._client.get_random_node()
            answer = await client._client.send(node, request)
            code = answer.topics[0][1][0][1]


async def test_a_header_name_that_is_no_utf_8_is_told_and_nothing_is_skipped(kafka: Kafka) -> None:
    async with kafka_topic(kafka, 2) as topic:
        await append_odd(kafka, topic)
        await topic.append(b"behind it")
        await topic.append(b"beside it", partition=1)
        async with reading(topic) as reader:
            with pytest.raises(Unavailable, match="a header's name is no UTF-8"):
                await reader.read(3)
            assert b"behind it" not in reader.values


async def test_what_stands_before_a_record_that_cannot_be_read_comes_first(kafka: Kafka) -> None:
    """So the flow's position is that record's own, and the reason names it."""
    async with kafka_topic(kafka) as topic:
        for number in range(3):
            await topic.append(b"%d" % number)
        await append_odd(kafka, topic)
        await topic.append(b"behind it")
        async with reading(topic) as reader:
            with pytest.raises(Unavailable, match=f"{topic.name}-0@3"):
                await reader.read(5)
            assert reader.values == [b"0", b"1", b"2"]


async def test_a_tombstone_and_an_empty_value_are_told_apart(kafka: Kafka) -> None:
    async with kafka_topic(kafka) as topic:
        await topic.append(None, key=b"k")
        await topic.append(b"", key=b"k")
        async with reading(topic) as reader:
            await reader.read(2)
            assert reader.values == [None, b""]


async def test_a_flow_that_keeps_up_for_ever_remembers_no_times_of_what_is_done(
    kafka: Kafka,
) -> None:
    async with kafka_topic(kafka) as topic, reading(topic) as reader:
        for number in range(5):
            await topic.append(b"one a minute", timestamp_ms=1_000 + number * 60_000)
            await reader.read(1)
            assert (await reader.source.lag({0: number + 1})).records == 0
        assert isinstance(reader.source, KafkaSource)
        assert reader.source._fetches is not None
        assert len(reader.source._fetches.ages[0]._times) == 1


@pytest.mark.parametrize("partitions", [3])
async def test_a_held_partition_does_not_hold_up_the_others(kafka: Kafka, partitions: int) -> None:
    """aiokafka drops what it fetched of a paused partition, and fetches nothing while it waits."""
    async with kafka_topic(kafka, partitions) as topic:
        async with reading(topic) as reader:
            reader.source.pause([0])
            for partition in range(partitions):
                await topic.append(b"%d" % partition, partition=partition)
            await reader.read(partitions - 1)
            assert sorted(reader.values, key=str) == [b"1", b"2"]
            reader.source.resume([0])
            async with asyncio.timeout(1):
                await reader.read(1)
            assert reader.values[-1] == b"0"


@pytest.mark.parametrize("version", [4, 6, 8, 10])
async def test_a_broker_that_is_too_old_for_the_newest_fetch_is_read_as_well(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr(kafka_fetch_exchange, "VERSION_MAX", version)
    async with kafka_topic(kafka, 2) as topic, reading(topic) as reader:
        for value in (b"0", b"1", b"2"):
            await topic.append(value)
            await topic.append(value, partition=1)
            await reader.read(2)
        assert sorted(reader.values, key=str) == [b"0", b"0", b"1", b"1", b"2", b"2"]
        assert (await reader.source.lag({0: 1, 1: 3})).records == 2


async def test_a_fetch_session_that_the_broker_does_not_know_begins_anew(kafka: Kafka) -> None:
    async with kafka_topic(kafka, 3) as topic, reading(topic) as reader:
        assert isinstance(reader.source, KafkaSource)
        assert reader.source._fetches is not None
        for number in range(2):
            await topic.append(b"0", partition=number)
            await reader.read(1)
        (session,) = reader.source._fetches._sessions.values()
        assert session._epoch > 1, "the broker keeps one for us"
        session._id += 1
        for value in (b"1", b"2"):
            await topic.append(value, partition=1)
            await topic.append(value, partition=2)
            await reader.read(2)
        assert [each.offset for each in reader.deliveries if each.partition == 1] == [0, 1, 2]
        assert len(reader.deliveries) == 6
