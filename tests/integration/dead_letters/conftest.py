"""An index on real PostgreSQL over a letter topic of its own on real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from uuid import uuid4

import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from devstack import Kafka, Postgres
from router.adapters.kafka_letter_feed import KafkaLetterFeed
from router.adapters.kafka_letter_topic import KafkaLetterTopic
from router.adapters.letter_database import LetterDatabase
from router.adapters.postgres_letter_fold import PostgresLetterFold
from router.adapters.postgres_letter_queries import PostgresLetterQueries
from router.adapters.system_clock import SystemClock
from router.application.dead_letter_reader import DeadLetterReader
from router.application.shards import SHARDS
from router.domain.dead_letter_mark import headers_of_mark
from router.domain.dead_letter_record import LetterId, LetterState
from router.domain.delivery import Delivery, Headers
from router.domain.kafka_connection import KafkaConnection

from tests.support.letters import letter_database, letter_headers
from tests.support.router_sources import connecting, connection_of

PARTITIONS = 2
WAIT_S = 30.0
LARGEST_BYTES = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A topic of letters with its index."""

    connection: KafkaConnection
    name: str
    database: LetterDatabase
    producer: AIOKafkaProducer
    topic: KafkaLetterTopic

    @property
    def queries(self) -> PostgresLetterQueries:
        return PostgresLetterQueries(self.database)

    @property
    def fold(self) -> PostgresLetterFold:
        return PostgresLetterFold(self.database)

    async def write(
        self,
        headers: Headers,
        *,
        key: bytes | None = b"k",
        value: bytes | None = b"value",
        partition: int = 0,
    ) -> LetterId:
        """Any record; where it stands."""
        sent = await self.producer.send_and_wait(
            self.name, key=key, value=value, headers=list(headers), partition=partition
        )
        return LetterId(partition=sent.partition, offset=sent.offset)

    async def letter(self, original: Delivery, *, partition: int = 0) -> LetterId:
        """The letter of a delivery."""
        value = b"" if original.key is None and original.value is None else original.value
        return await self.write(
            letter_headers(original), key=original.key, value=value, partition=partition
        )

    async def mark(self, letter_id: LetterId, state: LetterState) -> None:
        headers = headers_of_mark(letter_id, state, task_id="task-1")
        await self.write(
            headers, key=str(letter_id).encode(), value=None, partition=letter_id.partition
        )

    def reader(self) -> DeadLetterReader:
        """A reader of all partitions, not started."""
        return DeadLetterReader(
            feed=KafkaLetterFeed(self.connection, topic=self.name, client_id="letters"),
            index=self.fold,
            queries=self.queries,
            owned=lambda: frozenset(range(SHARDS)),
            clock=SystemClock(),
            random=Random(1),
            retention_s=1e9,
        )

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[DeadLetterReader]:
        """A reader that runs."""
        reader = self.reader()
        task = asyncio.create_task(reader.run())
        try:
            yield reader
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def caught_up(self, reader: DeadLetterReader) -> None:
        """Return once the index knows all that stands in the topic now."""
        spans = await self.topic.spans()
        async with asyncio.timeout(WAIT_S):
            while any(reader.positions.get(n, -1) < end for n, (_, end) in spans.items()):
                await asyncio.sleep(0.02)


@pytest_asyncio.fixture(loop_scope="session")
async def world(kafka: Kafka, postgres: Postgres) -> AsyncIterator[World]:
    """Empty."""
    name = f"letters-{uuid4().hex[:8]}"
    connection = connection_of(kafka)
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    topic = KafkaLetterTopic(connecting(connection), topic=name, client_id="letters")
    try:
        async with (
            LetterDatabase(await letter_database(postgres)) as database,
            AIOKafkaProducer(
                **kafka.client_settings(), acks="all", max_request_size=LARGEST_BYTES
            ) as producer,
        ):
            yield World(
                connection=connection,
                name=name,
                database=database,
                producer=producer,
                topic=topic,
            )
    finally:
        await topic.close()
        await admin.delete_topics([name])
        await admin.close()
