"""Find one dead letter among those that all tests leave in our internal topic."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord
from devstack import Kafka
from router.adapters.internal_topics import DEAD_LETTERS_TOPIC, TOPICS

READ_TIMEOUT_S = 20.0


async def internal_letter(kafka: Kafka, **headers: str) -> ConsumerRecord:
    """The newest record of a partition whose `ef-dl-<name>` headers are these.

    Raises TimeoutError. Names are written with `_` for `-`.
    """
    wanted = {f"ef-dl-{name.replace('_', '-')}": text.encode() for name, text in headers.items()}
    (count,) = [topic.partitions for topic in TOPICS if topic.name == DEAD_LETTERS_TOPIC]
    partitions = [TopicPartition(DEAD_LETTERS_TOPIC, number) for number in range(count)]
    async with AIOKafkaConsumer(**kafka.client_settings()) as consumer:
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, max(0, end - 1))
        async with asyncio.timeout(READ_TIMEOUT_S):
            async for record in consumer:
                if wanted.items() <= dict(record.headers).items():
                    return record
    raise AssertionError("the consumer ended")
