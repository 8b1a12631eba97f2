"""Who works, where, on which shards: a compacted topic that every worker writes to and reads whole.

Read without a group, since every worker needs all entries. An entry counts for `ENTRY_AGE_MAX_S`
after it was written; a worker that stops cleanly writes an empty one. The price: a worker that was
killed is asked in vain for up to ten seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from kernel.errors import Unavailable
from servicekit.kafka_goodbye import stop_producer
from servicekit.settings import HostPort

from router.adapters.internal_topics import WORKERS_TOPIC
from router.adapters.kafka_whole_topic import read_whole
from router.application.shards import SHARDS
from router.control_ports import WorkerEntry
from router.ports import Clock

ENTRY_AGE_MAX_S = 10.0
ENTRIES_MAX = 1_000
"""More names than workers can be: the oldest is forgotten."""
ENTRY_BYTES_MAX = 4_096
SEND_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    entry: WorkerEntry
    at_s: float


class WorkerDirectory:
    """The directory as one worker sees it. `run` reads for ever; `announce` writes.

    `address` is where the others reach us; nothing is announced before it is set.
    """

    def __init__(self, *, bootstrap_servers: str, worker_id: str, clock: Clock) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._worker_id = worker_id
        self.address: HostPort | None = None
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._producer: AIOKafkaProducer | None = None
        self._sending = asyncio.Lock()
        self._left = False

    def others(self) -> tuple[WorkerEntry, ...]:
        """Workers heard of within ENTRY_AGE_MAX_S, by id, without this one."""
        oldest_s = self._clock.monotonic_s() - ENTRY_AGE_MAX_S
        living = (heard.entry for heard in self._heard.values() if heard.at_s >= oldest_s)
        return tuple(sorted(living, key=lambda entry: entry.worker_id))

    async def announce(self, shards: Iterable[int]) -> None:
        """Tell the others what we own. Raises Unavailable when Kafka does not take it in time."""
        if self.address is not None and not self._left:
            content = {"address": str(self.address), "shards": sorted(shards)}
            await self._send(json.dumps(content).encode())

    async def leave(self) -> None:
        """Tell the others that we are gone, and close. Raises nothing; harmless twice."""
        if self._left:
            return
        self._left = True
        if self._producer is None:  # nothing was ever announced
            return
        try:
            await self._send(None)
        except Unavailable as error:
            _log.warning("the others find out by themselves that we left: %s", error)
        await self._drop_producer()

    async def run(self) -> None:
        """Read the topic from its beginning and go on for ever, also while Kafka is away."""
        settings = {"bootstrap_servers": self._bootstrap_servers, "client_id": self._worker_id}
        await read_whole(
            WORKERS_TOPIC,
            settings,
            hear=self._hear,
            caught_up=asyncio.Event(),
            clock=self._clock,
        )

    def _hear(self, record: Any) -> None:
        worker_id = (record.key or b"").decode("utf-8", "replace")
        if not worker_id or worker_id == self._worker_id:
            return
        entry = _entry(worker_id, record.value)
        self._heard.pop(worker_id, None)
        if entry is None:
            return
        # What was written while we did not listen counts from when it was written.
        age_s = max(0.0, self._clock.now().timestamp() - record.timestamp / 1_000)
        at_s = self._clock.monotonic_s() - age_s
        self._heard[worker_id] = _Heard(entry=entry, at_s=at_s)
        while len(self._heard) > ENTRIES_MAX:
            del self._heard[next(iter(self._heard))]

    async def _send(self, value: bytes | None) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S), self._sending:
                producer = await self._started_producer()
                await producer.send_and_wait(
                    WORKERS_TOPIC, key=self._worker_id.encode(), value=value
                )
        except (KafkaError, TimeoutError) as error:
            await self._drop_producer()
            raise Unavailable(f"Kafka took no announcement: {type(error).__name__}") from error

    async def _started_producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap_servers,
                client_id=self._worker_id,
                acks="all",
                request_timeout_ms=int(SEND_TIMEOUT_S * 1_000),
            )
            try:
                await producer.start()
            except BaseException:
                await stop_producer(producer, wait_s=CLOSE_TIMEOUT_S)
                raise
            self._producer = producer
        return self._producer

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_producer(producer, wait_s=CLOSE_TIMEOUT_S)


def _entry(worker_id: str, value: bytes | None) -> WorkerEntry | None:
    """None for a worker that left, and for what another release may have written."""
    if not value or len(value) > ENTRY_BYTES_MAX:
        return None
    try:
        content = json.loads(value)
        address = str(HostPort.parse(content["address"]))
        shards = frozenset(int(shard) for shard in content["shards"])
    except (ValueError, TypeError, KeyError):
        _log.warning("an unreadable entry in the worker directory", extra={"worker": worker_id})
        return None
    if not shards <= frozenset(range(SHARDS)):
        return None
    return WorkerEntry(worker_id=worker_id, address=address, shards=shards)
