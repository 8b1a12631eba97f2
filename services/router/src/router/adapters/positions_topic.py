"""The positions of all flows in a compacted topic of our own Kafka, read whole by every worker.

Read without a group, since any worker may be given any flow. Written by whoever owns a partition,
every few seconds, so a position here may be a little behind: then records come again. The price: a
worker holds one small entry for each partition of each flow that ever ran.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from kernel.backoff import delay_s
from kernel.errors import EventflowsError, Unavailable
from servicekit.kafka_goodbye import stop_consumer

from router.adapters.internal_topics import POSITIONS_TOPIC
from router.adapters.kafka_clients import client_settings
from router.adapters.kafka_producers import KafkaProducers
from router.domain.beginning import Place
from router.domain.kafka_connection import KafkaConnection
from router.domain.low_water import Mark
from router.domain.topic_identity import TopicIdentity
from router.ports import Clock

WRITE_INTERVAL_S: Final = 5.0
WRITE_BATCH_MAX: Final = 500
FLUSH_TIMEOUT_S: Final = 3.0
RECALL_TIMEOUT_S: Final = 5.0
POLL_TIMEOUT_MS: Final = 1_000
RETRY_FIRST_S: Final = 0.2
RETRY_LONGEST_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 2.0
ENTRIES_MAX: Final = 500_000
"""Partitions of flows; the oldest is forgotten. About 100 MB."""

_Key = tuple[str, str, int]
_log = logging.getLogger(__name__)


class PositionsTopic:
    """Positions as one worker remembers them. `run` reads and writes for ever."""

    def __init__(
        self,
        *,
        internal: KafkaConnection,
        client_id: str,
        producers: KafkaProducers,
        clock: Clock,
    ) -> None:
        self._internal = internal
        self._client_id = client_id
        self._producer = producers.use(internal)
        self._clock = clock
        self._places: dict[tuple[str, str], dict[int, Place]] = {}
        self._count = 0
        self._noted: dict[_Key, Place] = {}
        self._writing = asyncio.Lock()
        self.caught_up = asyncio.Event()
        """Everything that was there at our start has been read."""

    async def recall(self, group_id: str, topic: str) -> Mapping[int, Place]:
        try:
            async with asyncio.timeout(RECALL_TIMEOUT_S):
                await self.caught_up.wait()
        except TimeoutError as error:
            raise Unavailable(
                "our own Kafka has not told yet where the flow stood, and its group has no commit"
            ) from error
        return dict(self._places.get((group_id, topic), {}))

    def remember(self, group_id: str, topic: str, places: Mapping[int, Place]) -> None:
        known = self._places.get((group_id, topic), {})
        for number, place in places.items():
            short = Place(mark=Mark(position=place.mark.position), identity=place.identity)
            if known.get(number) != short:
                self._put((group_id, topic, number), short)
                self._noted[group_id, topic, number] = short

    async def flush(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S), self._writing:
                while self._noted:
                    await self._write_some()
        except TimeoutError as error:
            raise Unavailable("our own Kafka did not take the positions in time") from error

    async def run(self) -> None:
        """Also while Kafka is away."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._write_regularly())

    async def _write_regularly(self) -> None:
        while True:
            await self._clock.sleep(WRITE_INTERVAL_S)
            try:
                await self.flush()
            except EventflowsError as error:
                _log.warning("positions are written later: %s", error.message)

    async def _write_some(self) -> None:
        keys = [key for key, _ in zip(self._noted, range(WRITE_BATCH_MAX), strict=False)]
        places = {key: self._noted.pop(key) for key in keys}
        try:
            await asyncio.gather(*(self._send(key, place) for key, place in places.items()))
        except BaseException:
            self._noted = {**places, **self._noted}  # what was noted meanwhile is newer
            raise

    async def _send(self, key: _Key, place: Place) -> None:
        await self._producer.send(
            POSITIONS_TOPIC,
            key=json.dumps(key).encode(),
            value=_encode(place),
            headers=(),
        )

    async def _read(self) -> None:
        failures = 0
        while True:
            try:
                async with self._consumer() as consumer:
                    async for record in self._records(consumer):
                        failures = 0
                        self._hear(record)
            except KafkaError as error:
                failures += 1
                _log.warning("positions are not readable: %s: %s", type(error).__name__, error)
                await self._clock.sleep(
                    delay_s(
                        failures,
                        first_s=RETRY_FIRST_S,
                        longest_s=RETRY_LONGEST_S,
                        random=random.random,
                    )
                )

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            **client_settings(self._internal, client_id=self._client_id),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            consumer.assign([TopicPartition(POSITIONS_TOPIC, 0)])
            await consumer.seek_to_beginning()
            yield consumer
        finally:
            if not await stop_consumer(consumer, wait_s=CLOSE_TIMEOUT_S):
                _log.info("the consumer of the positions did not end cleanly")

    async def _records(self, consumer: AIOKafkaConsumer) -> AsyncIterator[Any]:
        (partition,) = consumer.assignment()
        end = (await consumer.end_offsets([partition]))[partition]
        while True:
            if not self.caught_up.is_set() and await consumer.position(partition) >= end:
                self.caught_up.set()
            batches = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS)
            for record in batches.get(partition, ()):
                yield record

    def _hear(self, record: Any) -> None:
        try:
            group_id, topic, number = json.loads(record.key or b"")
            key = str(group_id), str(topic), int(number)
            place = _decode(record.value or b"")
        except (ValueError, TypeError, KeyError):
            _log.warning("an unreadable entry at %s of the positions", record.offset)
            return
        if key not in self._noted:  # else ours is newer, and is written soon
            self._put(key, place)

    def _put(self, key: _Key, place: Place) -> None:
        group_id, topic, number = key
        places = self._places.setdefault((group_id, topic), {})
        self._count += number not in places
        places[number] = place
        while self._count > ENTRIES_MAX:
            oldest = next(iter(self._places))
            self._count -= len(self._places.pop(oldest))


def _encode(place: Place) -> bytes:
    content: dict[str, Any] = {"position": place.mark.position}
    if place.identity is not None:
        content |= {"topic_id": place.identity.topic_id, "partitions": place.identity.partitions}
    return json.dumps(content).encode()


def _decode(value: bytes) -> Place:
    """Raises ValueError, TypeError or KeyError for what another release may have written."""
    content = json.loads(value)
    identity = None
    if "topic_id" in content:
        identity = TopicIdentity(
            topic_id=str(content["topic_id"]), partitions=int(content["partitions"])
        )
    return Place(mark=Mark(position=int(content["position"])), identity=identity)
