"""Writes records with one producer that is started, at little more than the cost of its batches.

aiokafka's own `send` takes 9 of the 12 µs that a record costs: three coroutines, the partitions
listed twice, and murmur2 in Python. So a record is appended to the open batch of its partition, or
to a new one where there is none, as `send` would do; what a key hashes to is kept. What finds no
room, or belongs to a topic that is not known yet, goes through `send`. And instead of a timer for
each record, one look a second at those that are not acknowledged.

Price: reaches into private parts of aiokafka 0.14, which is pinned (`_message_accumulator`, the
batches in it, `_metadata._partitions`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerClosed,
    UnknownTopicOrPartitionError,
)
from aiokafka.partitioner import murmur2

from router.adapters.kafka_errors import InvalidRecordError

SEND_TIMEOUT_S: Final = 30.0
"""A record that is not acknowledged by then may still arrive; then writing it again repeats it."""
SWEEP_S: Final = 1.0
BATCH_BYTES_MAX: Final = 64 * 1024
"""Below the limits of nearly all topics; a larger record is a batch by itself."""
KEYS_KEPT_MAX: Final = 16_384
KEPT_KEY_BYTES_MAX: Final = 128
"""Longer keys are hashed each time, so that the keys kept take a few MB at most."""
FIRST_BYTES_MAX: Final = 16 * 1024
"""A larger record does not begin a batch here: `send` judges how large one may be."""
_POSITIVE: Final = 0x7FFF_FFFF


class NotAcknowledged(KafkaTimeoutError):  # type: ignore[misc]
    """It was handed over, and nobody said that it was written: it may be there."""


class KafkaWriter:
    """Any number of records at once; those of one key and topic keep an order if each is written
    after the one before has returned (a full batch lets a later call go first)."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer
        self.writes = 0
        """Calls of `write` that run."""
        self.is_retired = False
        """No new call shall begin; its owner stops the producer after the last one."""
        self._loop = asyncio.get_running_loop()
        self._accumulator = producer._message_accumulator
        self._metadata = producer._metadata
        self._unacknowledged: dict[asyncio.Future[Any], float] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    async def write(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int | None = None,
    ) -> None:
        """Return once all in-sync replicas have the record; `key` and `value` are not both None.

        Raises KafkaError, TimeoutError; of these NotAcknowledged when the record may be there.
        """
        self.writes += 1
        fields = list(headers)  # aiokafka takes nothing else
        deadline = self._loop.time() + SEND_TIMEOUT_S
        written: asyncio.Future[Any] | None = None
        try:
            partitions = self._metadata._partitions.get(topic)
            if partitions:
                if partition is None and key is not None:
                    partition = hash_of(key) % len(partitions)
                if partition is not None and partition in partitions:
                    written = self._append(topic, partition, key, value, fields)
            if written is None:
                async with asyncio.timeout_at(deadline):
                    written = await self.producer.send(
                        topic, value=value, key=key, partition=partition, headers=fields
                    )
                assert written is not None
            self._expect(written, deadline)
            await written
        except (MessageSizeTooLargeError, InvalidRecordError):  # perhaps another record's
            if written is None or len(key or b"") + len(value or b"") > BATCH_BYTES_MAX:
                raise
            self._unacknowledged.pop(written, None)
            written = self._append_alone(topic, partition, key, value, fields)
            self._expect(written, deadline)
            await written
        finally:
            self.writes -= 1
            if written is not None:
                self._unacknowledged.pop(written, None)

    def _expect(self, written: asyncio.Future[Any], deadline: float) -> None:
        self._unacknowledged[written] = deadline
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)

    def _append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        fields: list[tuple[str, bytes]],
    ) -> asyncio.Future[Any] | None:
        """Into the open batch of the partition, or a new one; None: that is not for us to do."""
        accumulator = self._accumulator
        if accumulator._closed or accumulator._exception is not None:
            return None
        batches = accumulator._batches.get((topic, partition))  # a TopicPartition is such a tuple
        if batches:
            batch = batches[-1]
        elif len(key or b"") + len(value or b"") <= FIRST_BYTES_MAX:
            place = TopicPartition(topic, partition)
            batch = accumulator._append_batch(accumulator.create_builder(), place)
        else:
            return None
        appended: asyncio.Future[Any] | None = batch.append(
            key, value, None, self._loop.create_future, headers=fields
        )
        return appended

    def _append_alone(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        fields: list[tuple[str, bytes]],
    ) -> asyncio.Future[Any]:
        """Into a batch that nothing else joins: its topic may take it that refused the other. That
        may be gone meanwhile."""
        accumulator = self._accumulator
        if accumulator._closed or accumulator._exception is not None:
            raise ProducerClosed
        partitions = self._metadata._partitions.get(topic, ())
        if partition is None and partitions:
            partition = self.producer._partition(topic, None, None, None, key, None)
        if partition not in partitions:
            raise UnknownTopicOrPartitionError
        place = TopicPartition(topic, partition)
        batch = accumulator._append_batch(accumulator.create_builder(), place)
        written: asyncio.Future[Any] = batch.append(
            key, value, None, self._loop.create_future, headers=fields
        )
        batch._builder.close()
        return written

    def _sweep(self) -> None:
        """Fail what waits too long. All are looked at: one that was handed over late stands behind
        others that began to wait after it."""
        self._sweeping = None
        now = self._loop.time()
        late = [each for each, deadline in self._unacknowledged.items() if deadline <= now]
        for written in late:
            if not written.done():
                written.set_exception(NotAcknowledged("no answer in time"))
        if self._unacknowledged:
            self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)


def hash_of(key: bytes) -> int:
    """What Kafka's own clients take modulo the number of partitions."""
    if len(key) > KEPT_KEY_BYTES_MAX:
        return int(murmur2(key)) & _POSITIVE
    return _kept_hash(key)


@lru_cache(maxsize=KEYS_KEPT_MAX)
def _kept_hash(key: bytes) -> int:
    return int(murmur2(key)) & _POSITIVE
