"""One idempotent producer for each connection, shared by the flows that write to it.

A producer that was refused a batch is thrown away: aiokafka has counted its sequence numbers up
already, and the broker refuses everything that follows in that partition as out of order (checked).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError
from kernel.errors import NotFound, TooLarge, Unavailable

from router.adapters.kafka_clients import (
    RECORD_BYTES_MAX,
    REQUEST_ROOM_BYTES,
    client_settings,
)
from router.adapters.kafka_errors import kafka_errors
from router.adapters.kafka_probe import diagnose
from router.domain.kafka_connection import KafkaConnection

START_TIMEOUT_S: Final = 20.0
SEND_TIMEOUT_S: Final = 30.0
"""A record that is not acknowledged by then may still arrive; then writing it again repeats it."""
CLOSE_TIMEOUT_S: Final = 5.0
BATCH_BYTES_MAX: Final = 64 * 1024
"""Far below any topic's limit, so that only a single record can be too large."""

_log = logging.getLogger(__name__)


class _Shared:
    """A producer with its users: flows that may send, and sends that run."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer
        self.sends = 0
        self.retired = False


class KafkaProducers:
    """All producers of this process, by connection."""

    def __init__(self, *, client_id: str = "eventflows-router") -> None:
        self._client_id = client_id
        self._users: dict[KafkaConnection, int] = {}
        self._shared: dict[KafkaConnection, _Shared] = {}
        self._starting: dict[KafkaConnection, asyncio.Task[_Shared]] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    @property
    def open_count(self) -> int:
        """Producers that are connected."""
        return len(self._shared)

    def use(self, connection: KafkaConnection) -> None:
        """One more user of a connection; nothing is connected before the first `send`."""
        self._users[connection] = self._users.get(connection, 0) + 1

    async def release(self, connection: KafkaConnection) -> None:
        """One user less; the last one has the producer closed, and does not wait for that."""
        if connection not in self._users:
            return
        self._users[connection] -= 1
        if not self._users[connection]:
            del self._users[connection]
            shared = self._shared.pop(connection, None)
            if shared is not None:
                self._retire(shared)

    async def send(
        self,
        connection: KafkaConnection,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int | None = None,
    ) -> None:
        """Return once all in-sync replicas have the record. `partition` None: by its key.

        A record with neither key nor value gets an empty value: aiokafka cannot send it otherwise.
        Raises TooLarge, NotFound, NotAllowed, Unauthenticated, Unavailable; after the last one the
        record may be there or not.
        """
        if key is None and value is None:
            value = b""
        shared = await self._started(connection)
        shared.sends += 1
        try:
            with kafka_errors(f"cannot write to {topic}"):
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await shared.producer.send_and_wait(
                        topic, value=value, key=key, headers=list(headers), partition=partition
                    )
        except TooLarge:
            self._replace(connection, shared)
            raise
        except Unavailable as error:
            if isinstance(error.__cause__, UnknownTopicOrPartitionError):
                raise NotFound(f"the topic {topic} does not exist") from error
            self._replace(connection, shared)
            raise
        finally:
            shared.sends -= 1
            if shared.retired:
                self._retire(shared)

    async def close(self) -> None:
        """Close every producer; return when all have ended. Harmless twice.

        Takes at most three times CLOSE_TIMEOUT_S.
        """
        self._users.clear()
        starting = set(self._starting.values())
        for task in starting:
            task.cancel()
        if starting:
            await asyncio.wait(starting)
        shared = list(self._shared.values())
        self._shared.clear()
        for each in shared:
            self._retire(each)
        if self._stopping:
            await asyncio.wait(set(self._stopping))

    async def _started(self, connection: KafkaConnection) -> _Shared:
        """The connection's producer. All who need a new one wait for the same start."""
        shared = self._shared.get(connection)
        if shared is not None:
            return shared
        starting = self._starting.get(connection)
        if starting is None:
            starting = asyncio.create_task(self._start_shared(connection))
            self._starting[connection] = starting
            starting.add_done_callback(_look_at)
        return await asyncio.shield(starting)

    async def _start_shared(self, connection: KafkaConnection) -> _Shared:
        try:
            shared = _Shared(await self._start(connection))
        finally:
            del self._starting[connection]
        if connection in self._users:
            self._shared[connection] = shared
        else:
            self._retire(shared)
        return shared

    async def _start(self, connection: KafkaConnection) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **client_settings(connection, client_id=self._client_id),
            enable_idempotence=True,
            acks="all",
            max_request_size=RECORD_BYTES_MAX + REQUEST_ROOM_BYTES,
            max_batch_size=BATCH_BYTES_MAX,
        )
        try:
            with kafka_errors("cannot write"):
                async with asyncio.timeout(START_TIMEOUT_S):
                    await producer.start()
        except Unavailable as error:
            await _stop(producer)
            if not isinstance(error.__cause__, KafkaConnectionError):
                raise
            raise await diagnose(connection) or error from error.__cause__
        except BaseException:
            await _stop(producer)
            raise
        return producer

    def _replace(self, connection: KafkaConnection, shared: _Shared) -> None:
        """The next `send` begins with a new producer; running ones end with the old one."""
        if self._shared.get(connection) is shared:
            del self._shared[connection]
        shared.retired = True

    def _retire(self, shared: _Shared) -> None:
        """End a producer once its last send is over, in a task of its own.

        Whoever sent last may have no time: a worker that was cancelled ends while its partitions
        are revoked, and a producer whose broker is away takes seconds to end.
        """
        shared.retired = True
        if not shared.sends:
            stopping = asyncio.create_task(_stop(shared.producer), name="a producer ends")
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)


def _look_at(task: asyncio.Task[_Shared]) -> None:
    """Whoever waited has gone, perhaps; then nobody else sees the error."""
    if not task.cancelled():
        task.exception()


async def _stop(producer: AIOKafkaProducer) -> None:
    """Stop within three times CLOSE_TIMEOUT_S, cleanly if the brokers allow. Raises nothing."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        _log.info("a producer did not end cleanly: %s", type(error).__name__)
        await _tear_down(producer)


async def _tear_down(producer: AIOKafkaProducer) -> None:
    """End the sockets and the task of a producer whose `stop` was broken off.

    Reaches into a private part of aiokafka 0.14: `stop` waits until all is sent, however long.
    """
    sender = producer._sender.sender_task
    if sender is not None:
        sender.cancel()
    closing = asyncio.ensure_future(producer.client.close())
    await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)
    closing.cancel()
    if sender is not None:
        await asyncio.wait({sender}, timeout=CLOSE_TIMEOUT_S)
