"""The internal topic `dead-letters`, read by the index's reader without a group."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord
from kernel.errors import Unavailable
from servicekit.kafka_goodbye import stop_consumer

from router.adapters.kafka_clients import client_settings
from router.adapters.kafka_errors import kafka_errors
from router.adapters.kafka_positions import missing_topic
from router.domain.delivery import NO_TIME_MS, Delivery
from router.domain.kafka_connection import KafkaConnection

START_TIMEOUT_S: Final = 20.0
OFFSETS_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0
FETCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of one answer; a single record that is larger still comes."""

ONE_WAIT_MS: Final = 500

_log = logging.getLogger(__name__)


class KafkaLetterFeed:
    """`LetterFeed` of one topic of our own Kafka."""

    def __init__(self, connection: KafkaConnection, *, topic: str, client_id: str) -> None:
        self._connection = connection
        self._topic = topic
        self._client_id = client_id
        self._consumer: AIOKafkaConsumer | None = None
        self._next: dict[int, int] = {}

    async def open(self) -> Mapping[int, tuple[int, int]]:
        await self.close()
        self._consumer = consumer = AIOKafkaConsumer(
            **client_settings(self._connection, client_id=self._client_id),
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=FETCH_BYTES_MAX,
        )
        with kafka_errors(f"cannot read {self._topic}"):
            async with asyncio.timeout(START_TIMEOUT_S):
                await consumer.start()
                bounds = await bounds_of(consumer, await partitions_of(consumer, self._topic))
        return {one.partition: span for one, span in bounds.items()}

    async def begin(self, offsets: Mapping[int, int]) -> None:
        consumer = self._require()
        consumer.assign([TopicPartition(self._topic, number) for number in offsets])
        self._next = dict(offsets)
        for number, offset in offsets.items():  # in the same step: nothing is fetched before it
            consumer.seek(TopicPartition(self._topic, number), offset)

    async def receive(self, *, wait_s: float, records_max: int) -> Mapping[int, Sequence[Delivery]]:
        consumer = self._require()
        with kafka_errors(f"cannot read {self._topic}"):
            try:
                batches = await consumer.getmany(
                    timeout_ms=int(wait_s * 1_000), max_records=records_max
                )
            except UnicodeDecodeError:
                batches = await self._one_by_one(consumer)
        for partition, records in batches.items():
            self._next[partition.partition] = records[-1].offset + 1
        return {one.partition: [delivery_of(r) for r in batch] for one, batch in batches.items()}

    async def ends(self) -> Mapping[int, int]:
        consumer = self._require()
        with kafka_errors(f"cannot read {self._topic}"):
            async with asyncio.timeout(OFFSETS_TIMEOUT_S):
                found = await consumer.end_offsets(list(consumer.assignment()))
        return {one.partition: end for one, end in found.items()}

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_consumer(consumer, wait_s=CLOSE_TIMEOUT_S)

    async def _one_by_one(
        self, consumer: AIOKafkaConsumer
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """At most one record of each partition, and past one that cannot be read.

        aiokafka raises at a header name that is no UTF-8, loses the records before it, and reads
        nothing behind it in the same batch. Nobody of ours writes such a name.
        """
        found: dict[TopicPartition, list[ConsumerRecord]] = {}
        for number, offset in list(self._next.items()):
            partition = TopicPartition(self._topic, number)
            consumer.seek(partition, offset)
            try:
                found |= await consumer.getmany(partition, timeout_ms=ONE_WAIT_MS, max_records=1)
            except UnicodeDecodeError:
                _log.warning("%s-%d@%d cannot be read and is left out", self._topic, number, offset)
                self._next[number] = offset + 1
                consumer.seek(partition, offset + 1)
        return found

    def _require(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise Unavailable(f"{self._topic} is not open")
        return self._consumer


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """All partitions of a topic, by a consumer without a group. Raises NotFound.

    Reaches into a private part of aiokafka 0.14: nothing public asks for the metadata of a topic
    that is neither subscribed to nor assigned.
    """
    await consumer._client.add_topic(topic)
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise missing_topic(topic)
    return [TopicPartition(topic, number) for number in sorted(numbers)]


async def bounds_of(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, tuple[int, int]]:
    """First offset and end of each."""
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    return {one: (first[one], end[one]) for one in partitions}


def delivery_of(record: ConsumerRecord) -> Delivery:
    """A record as a delivery of no assignment."""
    return Delivery(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=NO_TIME_MS if record.timestamp is None else record.timestamp,
        key=record.key,
        value=record.value,
        headers=record.headers,
        epoch=0,
    )
