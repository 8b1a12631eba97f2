"""How long whoever reads a topic of dead letters waits, and what is asked of its broker. What is
read: tests/ports/letter_topic."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord
from kernel.errors import Unavailable
from router.adapters import kafka_letter_topic
from router.adapters.kafka_letter_topic import KafkaLetterTopic
from router.domain.dead_letter_record import LetterId
from router.domain.kafka_connection import KafkaConnection

from tests.support.jumping_loop import run_in_jumps

ONE = TopicPartition("letters", 0)


class SilentConsumer:
    """aiokafka's, with a broker that has a record and never hands it out."""

    def __init__(self, **_: Any) -> None:
        self._client = self

    async def start(self) -> None:
        """Nothing is to do."""

    async def stop(self) -> None:
        """Nothing is to do."""

    async def add_topic(self, topic: str) -> None:
        """It is there."""

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {ONE.partition}

    async def beginning_offsets(self, _: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {ONE: 0}

    async def end_offsets(self, _: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {ONE: 1}

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Nothing is to do."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Nothing is to do."""

    async def getmany(self, *_: TopicPartition, **__: int) -> Mapping[TopicPartition, Any]:
        await asyncio.sleep(0)
        return {}

    async def position(self, _: TopicPartition) -> int:
        return 0


class FrozenConsumer(SilentConsumer):
    """aiokafka's, with a broker that takes connections and says nothing until it is thawed."""

    thawed = asyncio.Event()

    async def start(self) -> None:
        await self.thawed.wait()


class StockedConsumer(SilentConsumer):
    """aiokafka's, with a broker that has these offsets, and counts who asks for them."""

    first, end, asked = 0, 0, 0
    _next = 0

    async def beginning_offsets(self, _: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        type(self).asked += 1
        return {ONE: self.first}

    async def end_offsets(self, _: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {ONE: self.end}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._next = offset

    async def getone(self, partition: TopicPartition) -> ConsumerRecord[bytes, bytes]:
        if not self.first <= self._next < self.end:
            raise OffsetOutOfRangeError({partition: self._next})
        at = self._next
        return ConsumerRecord(ONE.topic, 0, at, 0, 0, b"k", b"v", None, 1, 1, ())


async def connect() -> KafkaConnection:
    return KafkaConnection(connection_id="connection-1", bootstrap_servers=("127.0.0.1:9",))


def test_whoever_waits_behind_others_for_a_silent_broker_is_told_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_letter_topic, "AIOKafkaConsumer", FrozenConsumer)
    gone = LetterId(partition=0, offset=1)

    async def read_at_once() -> None:
        FrozenConsumer.thawed = asyncio.Event()
        topic = KafkaLetterTopic(connect, topic=ONE.topic, client_id="letters")
        reads = [asyncio.create_task(topic.read(gone)) for _ in range(20)]
        await asyncio.wait(reads)
        assert all(isinstance(read.exception(), Unavailable) for read in reads)
        waited_s = asyncio.get_running_loop().time()
        assert waited_s <= kafka_letter_topic.TURN_TIMEOUT_S + kafka_letter_topic.START_TIMEOUT_S
        FrozenConsumer.thawed.set()
        assert await topic.read(gone) is None

    run_in_jumps(read_at_once())


async def test_a_scan_does_not_wait_for_ever_for_what_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_letter_topic, "AIOKafkaConsumer", SilentConsumer)
    monkeypatch.setattr(kafka_letter_topic, "CALL_TIMEOUT_S", 0.05)
    topic = KafkaLetterTopic(connect, topic=ONE.topic, client_id="letters")
    with pytest.raises(Unavailable, match="no answer in time"):
        async with aclosing(topic.forwards({ONE.partition: (0, 1)})) as batches:
            await anext(batches)


async def test_ends_are_asked_for_again_only_for_a_letter_behind_the_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each read of a letter asked for both, one after the other: half of its time."""
    monkeypatch.setattr(kafka_letter_topic, "AIOKafkaConsumer", StockedConsumer)
    monkeypatch.setattr(StockedConsumer, "first", 1)
    monkeypatch.setattr(StockedConsumer, "end", 3)
    monkeypatch.setattr(StockedConsumer, "asked", 0)
    topic = KafkaLetterTopic(connect, topic=ONE.topic, client_id="letters")
    assert await offsets_read(topic, 2, 1, 2) == [2, 1, 2]
    assert StockedConsumer.asked == 1
    monkeypatch.setattr(StockedConsumer, "end", 5)
    assert await offsets_read(topic, 4, 0, 1) == [4, None, 1]
    assert StockedConsumer.asked == 3
    await topic.close()
    assert await offsets_read(topic, 1) == [1]
    assert StockedConsumer.asked == 4


async def test_a_letter_that_its_topic_dropped_after_its_ends_were_asked_for_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_letter_topic, "AIOKafkaConsumer", StockedConsumer)
    monkeypatch.setattr(StockedConsumer, "first", 0)
    monkeypatch.setattr(StockedConsumer, "end", 9)
    topic = KafkaLetterTopic(connect, topic=ONE.topic, client_id="letters")
    assert await offsets_read(topic, 1) == [1]
    monkeypatch.setattr(StockedConsumer, "first", 5)
    assert await offsets_read(topic, 1, 5) == [None, 5]


async def offsets_read(topic: KafkaLetterTopic, *offsets: int) -> list[int | None]:
    found = [await topic.read(LetterId(partition=0, offset=offset)) for offset in offsets]
    return [None if one is None else one.offset for one in found]
