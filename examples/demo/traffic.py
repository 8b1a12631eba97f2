"""The customer's side: an ordinary producer and an ordinary consumer of the customer's Kafka."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from devstack import Kafka

from examples.demo.records import DemoRecord
from examples.demo.verdict import Result

POLL_MS = 200
SEND_TIMEOUT_S = 60.0


class ResultReader:
    """Reads a topic from its beginning, without a group, and remembers when each result came."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self.results: list[Result] = []
        self.numbers: set[int] = set()
        self.arrived_at_s: dict[int, float] = {}
        self.newest_at_s = 0.0

    async def poll(self) -> int:
        """Read what is there, at most for 200 ms; returns how many results were new."""
        before = len(self.numbers)
        batches = await self._consumer.getmany(timeout_ms=POLL_MS)
        now_s = time.monotonic()
        for messages in batches.values():
            for message in messages:
                body = json.loads(message.value)
                number = int(body["id"])
                self.results.append(
                    Result(key=message.key, number=number, digit=int(body["digit"]))
                )
                self.arrived_at_s.setdefault(number, now_s)
                self.numbers.add(number)
        new = len(self.numbers) - before
        if new:
            self.newest_at_s = now_s
        return new

    async def until(
        self, count: int, *, timeout_s: float, progress: Callable[[int], None] = lambda _: None
    ) -> bool:
        """Poll until `count` different results are there; False: not within the time."""
        deadline_s = time.monotonic() + timeout_s
        while len(self.numbers) < count:
            if time.monotonic() > deadline_s:
                return False
            await self.poll()
            progress(len(self.numbers))
        return True

    async def to_the_end(self, *, timeout_s: float) -> None:
        """Poll until nothing stands behind the position: repeats at the end count too."""
        partitions = [
            TopicPartition(self._topic, number)
            for number in self._consumer.partitions_for_topic(self._topic) or ()
        ]
        ends = await self._consumer.end_offsets(partitions)
        async with asyncio.timeout(timeout_s):
            while any([await self._consumer.position(p) < ends[p] for p in partitions]):
                await self.poll()


@asynccontextmanager
async def result_reader(kafka: Kafka, topic: str) -> AsyncIterator[ResultReader]:
    """A reader of all partitions of `topic`, from the first record on."""
    consumer = AIOKafkaConsumer(
        topic, group_id=None, auto_offset_reset="earliest", **kafka.client_settings()
    )
    await consumer.start()
    try:
        yield ResultReader(consumer, topic)
    finally:
        await consumer.stop()


@asynccontextmanager
async def producer(kafka: Kafka) -> AsyncIterator[AIOKafkaProducer]:
    """An idempotent producer that waits for all replicas."""
    client = AIOKafkaProducer(
        **kafka.client_settings(), acks="all", enable_idempotence=True, linger_ms=2
    )
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def produce(client: AIOKafkaProducer, topic: str, records: Sequence[DemoRecord]) -> None:
    """Send all records as fast as the broker takes them, and wait for every acknowledgement."""
    sent = [await client.send(topic, key=record.key, value=record.value) for record in records]
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await asyncio.gather(*sent)


async def produce_steadily(
    client: AIOKafkaProducer, topic: str, records: Sequence[DemoRecord], *, per_s: float
) -> dict[int, float]:
    """Send at a fixed rate; returns when each was due, so that a late sender hides nothing."""
    started_s = time.monotonic()
    due_s: dict[int, float] = {}
    sent = []
    for index, record in enumerate(records):
        due_s[record.number] = started_s + index / per_s
        await asyncio.sleep(max(0.0, due_s[record.number] - time.monotonic()))
        sent.append(await client.send(topic, key=record.key, value=record.value))
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await asyncio.gather(*sent)
    return due_s
