"""Whole topics and committed positions, read by a plain Kafka client for the checker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord
from devstack import Kafka

from tests.support.checker import Seen

READ_TIMEOUT_S = 120.0
POLL_MS = 500
RECORDS_MAX = 5_000
FETCH_BYTES_MAX = 16 * 1024 * 1024

Wanted = Callable[[ConsumerRecord], bool]


async def read_topic(
    kafka: Kafka, topic: str, *, wanted: Wanted = lambda record: True
) -> list[Seen]:
    """All numbered records of a topic that are wanted, up to where it ends now.

    In order within each partition. Raises TimeoutError.
    """
    seen: list[Seen] = []
    async with _reader(kafka, topic) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        async with asyncio.timeout(READ_TIMEOUT_S):
            while any([await consumer.position(one) < end for one, end in ends.items()]):
                batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_MAX)
                for records in batches.values():
                    seen += [_seen(record) for record in records if wanted(record)]
    return seen


def letter_of(flow_ids: frozenset[str]) -> Wanted:
    """Is it a dead letter of one of these flows, by its documented headers?"""
    ids = {flow_id.encode() for flow_id in flow_ids}

    def is_letter(record: ConsumerRecord) -> bool:
        headers = dict(record.headers)
        return headers.get("ef-dl-flow") in ids and "ef-dl-mark" not in headers

    return is_letter


async def uncommitted(kafka: Kafka, topic: str, *, group: str) -> int:
    """Records between the committed positions of a group and the ends of a topic."""
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    try:
        committed = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    async with _reader(kafka, topic) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
    return sum(
        end - max(0, committed[one].offset if one in committed else 0) for one, end in ends.items()
    )


def _reader(kafka: Kafka, topic: str) -> AIOKafkaConsumer:
    """Without a group: it has all partitions, from their beginning, as soon as it is started."""
    return AIOKafkaConsumer(
        topic,
        group_id=None,
        auto_offset_reset="earliest",
        fetch_max_bytes=FETCH_BYTES_MAX,
        **kafka.client_settings(),
    )


def _seen(record: ConsumerRecord) -> Seen:
    return Seen(
        number=int(json.loads(record.value)["n"]),
        key=record.key,
        partition=record.partition,
        offset=record.offset,
    )
