"""The positions of all flows in a compacted topic of our own Kafka, read whole by every worker.

Read without a group, since any worker may be given any flow. Written by whoever owns a partition,
every few seconds, so a position here may be a little behind: then records come again. The price: a
worker holds one small entry for each partition of each flow that ever ran.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from kernel.errors import EventflowsError, Unavailable

from router.adapters.internal_topics import POSITIONS_TOPIC
from router.adapters.kafka_clients import client_settings
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.kafka_whole_topic import read_whole
from router.domain.beginning import Place
from router.domain.kafka_connection import KafkaConnection
from router.domain.low_water import Mark
from router.domain.topic_identity import TopicIdentity
from router.ports import Clock

WRITE_INTERVAL_S: Final = 5.0
WRITE_BATCH_MAX: Final = 500
FLUSH_TIMEOUT_S: Final = 3.0
RECALL_TIMEOUT_S: Final = 5.0
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
        await read_whole(
            POSITIONS_TOPIC,
            client_settings(self._internal, client_id=self._client_id),
            hear=self._hear,
            caught_up=self.caught_up,
            clock=self._clock,
        )

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
