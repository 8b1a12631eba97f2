"""The suite runs against every adapter of `LetterTopic` and `LetterFeed`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from devstack import Kafka
from router.adapters import kafka_letter_topic
from router.adapters.kafka_letter_feed import KafkaLetterFeed
from router.adapters.kafka_letter_topic import KafkaLetterTopic
from router.adapters.memory_letter_topic import WINDOW_RECORDS, MemoryLetterFeed, MemoryLetterTopic
from router.dead_letter_ports import LetterFeed, LetterTopic
from router.domain.dead_letter_record import LetterId
from router.domain.delivery import Headers

from tests.support.router_sources import connecting, connection_of

PARTITIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """A topic with two partitions, its feed, a producer, and its retention: all of a partition
    before an offset is gone."""

    topic: LetterTopic
    feed: LetterFeed
    append: Callable[..., Awaitable[LetterId]]
    expire: Callable[[int, int], Awaitable[None]]


@pytest.fixture(params=["memory", "kafka"])
async def letters(
    request: pytest.FixtureRequest, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Letters]:
    """Empty."""
    if request.param == "memory":
        memory = MemoryLetterTopic(partitions=PARTITIONS)

        async def append(partition: int, headers: Headers = (), **record: bytes | None) -> LetterId:
            return memory.append(partition, headers, **record)  # type: ignore[arg-type]

        async def expire(partition: int, before: int) -> None:
            memory.expire(partition, before - memory.first[partition])

        yield Letters(topic=memory, feed=MemoryLetterFeed(memory), append=append, expire=expire)
        return
    monkeypatch.setattr(kafka_letter_topic, "WINDOW_RECORDS", WINDOW_RECORDS)
    name, connection = f"letters-{uuid4().hex[:8]}", connection_of(kafka)
    topic = KafkaLetterTopic(connecting(connection), topic=name, client_id="letters")
    feed = KafkaLetterFeed(connection, topic=name, client_id="letters")
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    try:
        async with AIOKafkaProducer(**kafka.client_settings(), acks="all") as producer:

            async def send(
                partition: int,
                headers: Headers = (),
                *,
                key: bytes | None = b"k",
                value: bytes | None = b"value",
            ) -> LetterId:
                sent = await producer.send_and_wait(
                    name, key=key, value=value, headers=list(headers), partition=partition
                )
                return LetterId(partition=sent.partition, offset=sent.offset)

            async def delete(partition: int, before: int) -> None:
                await admin.delete_records(
                    {TopicPartition(name, partition): RecordsToDelete(before)}
                )

            yield Letters(topic=topic, feed=feed, append=send, expire=delete)
    finally:
        await topic.close()
        await feed.close()
        await admin.delete_topics([name])
        await admin.close()
