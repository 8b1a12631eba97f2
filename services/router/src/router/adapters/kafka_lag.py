"""How far a flow is behind, from what its fetches tell anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from kernel.errors import Unavailable

from router.adapters.kafka_errors import kafka_errors
from router.adapters.kafka_fetches import KafkaFetches
from router.domain.lag import Lag
from router.domain.record_ages import RecordAges

LAG_TIMEOUT_S: Final = 5.0


async def measure_lag(
    consumer: AIOKafkaConsumer,
    fetches: KafkaFetches,
    positions: Mapping[int, int],
    *,
    topic: str,
    now_ms: int,
) -> Lag:
    """From `positions` to the end of the log, how long the oldest record waits, and how many could
    be handed out.

    Most ends are known from the last fetch; the broker is asked for those of partitions that are
    not fetched just now. Offsets that hold no record do not count once they are passed. Raises
    Unavailable.
    """
    ends = await _ends(consumer, fetches, positions, topic)
    records, receivable, oldest_ms = 0, 0, 0
    passed: dict[int, int] = {}
    for number, position in positions.items():
        reached = fetches.position(number)
        if fetches.hands_out(number):
            receivable += max(0, ends[number] - reached)
        if position < reached and position >= fetches.next_offsets.get(number, reached):
            position = passed[number] = reached
        ages = fetches.ages.setdefault(number, RecordAges())
        waiting = ends[number] - position
        if waiting > 0:
            records += waiting
            oldest_ms = max(oldest_ms, ages.waiting_ms(position, now_ms=now_ms))
        else:
            ages.forget_below(position)
    return Lag(
        records=records, oldest_age_s=oldest_ms / 1_000, receivable=receivable, passed=passed
    )


async def _ends(
    consumer: AIOKafkaConsumer, fetches: KafkaFetches, numbers: Mapping[int, int], topic: str
) -> dict[int, int]:
    told = {number: fetches.fresh_end(number) for number in numbers}
    ends = {number: end for number, end in told.items() if end is not None}
    unknown = [TopicPartition(topic, number) for number in numbers if number not in ends]
    if unknown:
        with kafka_errors("cannot measure the lag"):
            async with asyncio.timeout(LAG_TIMEOUT_S):
                asked = await consumer.end_offsets(unknown)
        ends |= {partition.partition: offset for partition, offset in asked.items()}
    if len(ends) < len(numbers):
        raise Unavailable("cannot measure the lag: the broker named no end of some partitions")
    return ends
