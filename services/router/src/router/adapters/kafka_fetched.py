"""What was fetched of one partition, and how records are made of it.

aiokafka reads the batches; what is reached into for that is its `PartitionRecords` (ADR 0017).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiokafka import TopicPartition, errors
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.memory_records import MemoryRecords

from router.adapters.kafka_fetch_session import FetchedPartition
from router.domain.delivery import NO_TIME_MS, Delivery, Headers

Make = Callable[[TopicPartition, Any], Delivery]


class Fetched:
    """What was not handed out yet of one partition, or why nothing more will be."""

    __slots__ = ("error", "partition", "records", "since_s")

    def __init__(
        self, partition: TopicPartition, records: Any, error: Exception | None = None
    ) -> None:
        self.partition = partition
        self.records = records
        self.error = error
        """Stands behind the records that are handed out before it."""
        self.since_s = time.monotonic()

    @property
    def next_offset(self) -> int:
        """From where to fetch on: behind what was handed out, and what was passed over."""
        offset: int = self.records.next_fetch_offset
        return offset

    def hand_out(self, deliveries: list[Delivery], records_max: int, make: Make) -> bool:
        """Move records over, in their order, until there are so many. Was that all of it? Else more
        is left, or `error` says why no more comes."""
        records = self.records
        records._consumer_record = make
        try:
            for delivery in records:
                deliveries.append(delivery)
                if len(deliveries) >= records_max:
                    break
            else:
                return True
        except (UnicodeDecodeError, errors.CorruptRecordException) as error:
            topic, number = self.partition
            self.error = errors.CorruptRecordException(f"{topic}-{number}@{self.next_offset}")
            self.error.__cause__ = error
        except Exception as error:  # noqa: BLE001 - it is raised by the next `take`
            self.error = error
        return False


def fetched(topic: str, found: FetchedPartition, *, position: int, read_committed: bool) -> Fetched:
    """Of what a broker answered to the question for `position`."""
    partition = TopicPartition(topic, found.partition)
    batches = MemoryRecords(found.records)
    if not batches.has_next():
        return Fetched(partition, None, errors.RecordTooLargeError(f"{partition} at {position}"))
    isolation, check_crcs = int(read_committed), True
    records = PartitionRecords(
        partition, batches, found.aborted, position, None, None, check_crcs, isolation
    )
    return Fetched(partition, records)


def maker(topic: str, epoch: int) -> Make:
    """What makes one of our records of one of aiokafka's batches.

    A header that stood in the record before as well is the same object. Of completions that is all
    but the request id, and thousands of records are held: that many objects less for the CPU's
    caches and the garbage collector to go through.
    """
    before: Headers = ()

    def make(partition: TopicPartition, record: Any) -> Delivery:
        nonlocal before
        headers = record.headers
        if headers:
            if len(headers) == len(before):
                pairs = zip(before, headers, strict=True)
                headers = [old if old == new else new for old, new in pairs]
            before = tuple(headers)
        timestamp_ms = record.timestamp
        return Delivery(
            topic,
            partition[1],
            record.offset,
            NO_TIME_MS if timestamp_ms is None else timestamp_ms,
            record.key,
            record.value,
            epoch,
            before if headers else (),
        )

    return make
