"""An internal topic of one partition that every worker reads whole, and for ever.

Read without a group: nobody shares it, and what is known of it lives in memory alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from kernel.backoff import delay_s
from servicekit.kafka_goodbye import stop_consumer

from router.ports import Clock

POLL_TIMEOUT_MS: Final = 1_000
RETRY_FIRST_S: Final = 0.2
RETRY_LONGEST_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 2.0

_log = logging.getLogger(__name__)


async def read_whole(
    topic: str,
    settings: Mapping[str, Any],
    *,
    hear: Callable[[ConsumerRecord], None],
    caught_up: asyncio.Event,
    clock: Clock,
) -> NoReturn:
    """Read from the beginning and go on for ever; from the beginning again whenever Kafka was away.

    `settings` are those of any aiokafka client. `caught_up` is set once everything was heard that
    was there at the start. Raises only CancelledError, and what `hear` raises.
    """
    failures = 0
    while True:
        try:
            async with _consumer(topic, settings) as consumer:
                async for record in _records(consumer, caught_up):
                    failures = 0
                    hear(record)
        except KafkaError as error:
            failures += 1
            _log.warning("%s is not readable: %s: %s", topic, type(error).__name__, error)
            wait_s = delay_s(
                failures, first_s=RETRY_FIRST_S, longest_s=RETRY_LONGEST_S, random=random.random
            )
            await clock.sleep(wait_s)


@asynccontextmanager
async def _consumer(topic: str, settings: Mapping[str, Any]) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(**settings, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        await consumer.start()
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        yield consumer
    finally:
        if not await stop_consumer(consumer, wait_s=CLOSE_TIMEOUT_S):
            _log.info("the consumer of %s did not end cleanly", topic)


async def _records(
    consumer: AIOKafkaConsumer, caught_up: asyncio.Event
) -> AsyncIterator[ConsumerRecord]:
    (partition,) = consumer.assignment()
    end = (await consumer.end_offsets([partition]))[partition]
    while True:
        if not caught_up.is_set() and await consumer.position(partition) >= end:
            caught_up.set()
        batches = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS)
        for record in batches.get(partition, ()):
            yield record
