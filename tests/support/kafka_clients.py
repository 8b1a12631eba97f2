"""Clients of the tests' own that end in time: over TLS a busy broker may leave one waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from devstack import Kafka
from servicekit.kafka_goodbye import close_admin, stop_consumer, stop_producer

END_S = 2.0


@asynccontextmanager
async def consuming(kafka: Kafka, *topics: str, **settings: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that was started."""
    consumer = AIOKafkaConsumer(*topics, **kafka.client_settings(), **settings)
    try:
        await consumer.start()
        yield consumer
    finally:
        await stop_consumer(consumer, wait_s=END_S)


@asynccontextmanager
async def producing(kafka: Kafka, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that was started."""
    producer = AIOKafkaProducer(**kafka.client_settings(), **settings)
    try:
        await producer.start()
        yield producer
    finally:
        await stop_producer(producer, wait_s=END_S)


@asynccontextmanager
async def admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client that was started."""
    client = AIOKafkaAdminClient(**kafka.client_settings())
    try:
        await client.start()
        yield client
    finally:
        await close_admin(client, wait_s=END_S)
