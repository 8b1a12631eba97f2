"""A topic of dead letters, read by coordinates or from its end."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord
from kernel.errors import StateForbids, Unavailable
from servicekit.kafka_goodbye import stop_consumer

from router.adapters.kafka_clients import client_settings
from router.adapters.kafka_errors import kafka_errors
from router.adapters.kafka_letter_feed import bounds_of, delivery_of, partitions_of
from router.domain.dead_letter_record import LetterId
from router.domain.delivery import Delivery
from router.domain.kafka_connection import KafkaConnection

TURN_TIMEOUT_S: Final = 15.0
"""For the connection, while others use it."""
START_TIMEOUT_S: Final = 10.0
CALL_TIMEOUT_S: Final = 15.0
CLOSE_TIMEOUT_S: Final = 2.0
FETCH_BYTES_MAX: Final = 8 * 1024 * 1024
WINDOW_RECORDS: Final = 200
"""Of each partition, read at once on the way back from the end."""
RECEIVE_WAIT_S: Final = 1.0
"""How often it is looked whether anything has come."""
RECEIVE_RECORDS_MAX: Final = 200


class KafkaLetterTopic:
    """`LetterTopic` of one connection; one consumer, connected at the first call."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[KafkaConnection]],
        *,
        topic: str,
        client_id: str,
    ) -> None:
        """`connect` says how, whenever it connects: credentials may have changed since. It raises
        NotFound, Unavailable, TimedOut."""
        self._connect = connect
        self._topic = topic
        self._client_id = client_id
        self._one_at_a_time = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None
        self._bounds: dict[TopicPartition, tuple[int, int]] = {}
        """First offset and end as this consumer found them; both may be further by now."""

    async def read(self, letter_id: LetterId) -> Delivery | None:
        partition = TopicPartition(self._topic, letter_id.partition)
        async with self._connected() as consumer, asyncio.timeout(CALL_TIMEOUT_S):
            if partition not in await partitions_of(consumer, self._topic):
                return None
            if not await self._holds(consumer, partition, letter_id.offset):
                return None
            consumer.assign([partition])
            consumer.seek(partition, letter_id.offset)
            try:
                record = delivery_of(await consumer.getone(partition))
            except OffsetOutOfRangeError:  # it was there when the bounds were asked for
                del self._bounds[partition]
                return None
        return record if record.offset == letter_id.offset else None

    async def backwards(self) -> AsyncGenerator[Sequence[Delivery], None]:
        async with self._connected() as consumer:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                bounds = await bounds_of(consumer, await partitions_of(consumer, self._topic))
            upper = {one: end for one, (_, end) in bounds.items()}
            while upper:
                lower = {
                    one: max(bounds[one][0], end - WINDOW_RECORDS) for one, end in upper.items()
                }
                async for batch in _between(consumer, lower, upper):
                    yield batch
                upper = {one: offset for one, offset in lower.items() if offset > bounds[one][0]}

    async def forwards(
        self, spans: Mapping[int, tuple[int, int]]
    ) -> AsyncGenerator[Sequence[Delivery], None]:
        asked = {TopicPartition(self._topic, number): span for number, span in spans.items()}
        async with self._connected() as consumer:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                there = await partitions_of(consumer, self._topic)
                bounds = await bounds_of(consumer, [one for one in there if one in asked])
            upper = {one: min(asked[one][1], end) for one, (_, end) in bounds.items()}
            begins = {one: max(asked[one][0], first) for one, (first, _) in bounds.items()}
            lower = {one: begin for one, begin in begins.items() if begin < upper[one]}
            if lower:
                async for batch in _between(consumer, lower, upper):
                    yield batch

    async def spans(self) -> Mapping[int, tuple[int, int]]:
        async with self._connected() as consumer, asyncio.timeout(CALL_TIMEOUT_S):
            bounds = await bounds_of(consumer, await partitions_of(consumer, self._topic))
        return {one.partition: span for one, span in bounds.items()}

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._bounds.clear()
        if consumer is not None:
            await stop_consumer(consumer, wait_s=CLOSE_TIMEOUT_S)

    async def _holds(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int
    ) -> bool:
        first, end = self._bounds.get(partition, (0, 0))
        if not first <= offset < end:
            self._bounds |= await bounds_of(consumer, [partition])
            first, end = self._bounds[partition]
        return first <= offset < end

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AIOKafkaConsumer]:
        """The consumer, for one caller; after any error the next one gets a new one."""
        async with self._turn():
            try:
                with kafka_errors(f"cannot read {self._topic}"):
                    yield await self._started()
            except UnicodeDecodeError as error:
                await self.close()
                raise StateForbids(
                    f"{self._topic} holds a record with a header name that is no UTF-8: nothing "
                    "around it can be read"
                ) from error
            except BaseException:
                await self.close()
                raise

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                await self._one_at_a_time.acquire()
        except TimeoutError as error:
            raise Unavailable(f"{self._topic}: others wait for its cluster already") from error
        try:
            yield
        finally:
            self._one_at_a_time.release()

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **client_settings(await self._connect(), client_id=self._client_id),
                enable_auto_commit=False,
                auto_offset_reset="none",
                fetch_max_bytes=FETCH_BYTES_MAX,
            )
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._consumer.start()
        return self._consumer


async def _between(
    consumer: AIOKafkaConsumer,
    lower: Mapping[TopicPartition, int],
    upper: Mapping[TopicPartition, int],
) -> AsyncIterator[Sequence[Delivery]]:
    """The records from `lower` up to `upper`, partition by partition as they come."""
    consumer.assign(list(lower))
    for partition, offset in lower.items():
        consumer.seek(partition, offset)
    reached = dict(lower)
    while reached:
        batches, now = await _further(consumer, reached)
        for partition, records in batches.items():
            if batch := [delivery_of(one) for one in records if one.offset < upper[partition]]:
                yield batch
        reached = {one: offset for one, offset in now.items() if offset < upper[one]}


async def _further(
    consumer: AIOKafkaConsumer, reached: Mapping[TopicPartition, int]
) -> tuple[Mapping[TopicPartition, Sequence[ConsumerRecord]], Mapping[TopicPartition, int]]:
    """The next records of these partitions, and where each stands then.

    A large record may take many seconds to come, and whoever asks anew fetches all of it again.
    Raises TimeoutError when nothing has come for long.
    """
    async with asyncio.timeout(CALL_TIMEOUT_S):
        while True:
            batches = await consumer.getmany(
                *reached, timeout_ms=int(RECEIVE_WAIT_S * 1_000), max_records=RECEIVE_RECORDS_MAX
            )
            now = {one: await consumer.position(one) for one in reached}
            if now != reached:
                return batches, now
