"""Put records on a topic, acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer
from devstack import Kafka

ACKNOWLEDGE_TIMEOUT_S = 60.0


async def produce_values(
    kafka: Kafka, topic: str, records: Iterable[tuple[bytes | None, bytes]]
) -> int:
    """Send (key, value) pairs and wait for every acknowledgement; returns how many they were."""
    client = AIOKafkaProducer(
        **kafka.client_settings(), acks="all", enable_idempotence=True, linger_ms=2
    )
    await client.start()
    try:
        sent = [await client.send(topic, key=key, value=value) for key, value in records]
        async with asyncio.timeout(ACKNOWLEDGE_TIMEOUT_S):
            await asyncio.gather(*sent)
    finally:
        await client.stop()
    return len(sent)
