"""One idempotent producer for each connection, shared by the flows that write to it.

A producer that could not write a batch is thrown away: aiokafka has counted its sequence numbers up
already, and the broker refuses everything that follows in that partition as out of order (checked).
One whose batch a broker refused to append is kept if that leaves no gap (`kafka_sequences`): else
all flows of a connection would wait for a new one at each record of one of them that is too large.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NotEnoughReplicasAfterAppendError,
    RequestTimedOutError,
    UnknownTopicOrPartitionError,
)
from kernel.errors import EventflowsError, NotFound, TimedOut, Unavailable
from servicekit.kafka_goodbye import stop_producer

from router.adapters.kafka_clients import RECORD_BYTES_MAX, client_settings
from router.adapters.kafka_errors import kafka_errors
from router.adapters.kafka_probe import diagnose
from router.adapters.kafka_produce_request import write_quickly
from router.adapters.kafka_sequences import keep_sequences
from router.adapters.kafka_writer import BATCH_BYTES_MAX, KafkaWriter
from router.domain.kafka_connection import KafkaConnection

START_TIMEOUT_S: Final = 20.0
CLOSE_TIMEOUT_S: Final = 5.0
_PERHAPS_WRITTEN: Final = (
    KafkaTimeoutError,
    RequestTimedOutError,
    NotEnoughReplicasAfterAppendError,
)
"""They say that a record was handed over, and not that it was written. A `TimeoutError` is none of
these: it ends the wait for a place in a batch."""

write_quickly()


class SharedProducer:
    """The producer of one connection: made when it is needed, and made anew when it is broken."""

    def __init__(self, connection: KafkaConnection, *, client_id: str) -> None:
        self.users = 0
        self._connection = connection
        self._client_id = client_id
        self._writer: KafkaWriter | None = None
        self._starting: asyncio.Task[KafkaWriter] | None = None
        self._stopping: set[asyncio.Task[bool]] = set()

    @property
    def is_open(self) -> bool:
        """Is there a producer that is connected?"""
        return self._writer is not None

    @property
    def is_ending(self) -> bool:
        """Is something of it still being started or stopped, or in use?"""
        return bool(self._starting or self._stopping or self._writer)

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int | None = None,
    ) -> None:
        """Return once all in-sync replicas have the record. `partition` None: by its key.

        A record with neither key nor value gets an empty value: aiokafka cannot send it otherwise.
        Raises TooLarge, InvalidInput for what the topic takes from nobody, NotFound, NotAllowed,
        Unauthenticated, Unavailable, and of the last kind TimedOut when the record was handed over
        and may be there.
        """
        if key is None and value is None:
            value = b""
        if not self.users:
            raise Unavailable("nobody writes by this connection any more")
        writer = self._writer or await self._started()
        try:
            await writer.write(topic, key=key, value=value, headers=headers, partition=partition)
        except (KafkaError, TimeoutError, OSError) as error:
            raise self._judged(error, writer, topic) from error
        finally:
            if writer.is_retired:
                self._retire(writer)

    def release(self) -> None:
        """Nobody uses the producer any more: end it, and do not wait for that."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._retire(writer)

    async def close(self) -> None:
        """Return when all has ended, within three times CLOSE_TIMEOUT_S. Harmless twice."""
        self.users = 0
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        self.release()
        if self._stopping:
            await asyncio.wait(set(self._stopping))

    def _judged(self, failure: Exception, writer: KafkaWriter, topic: str) -> EventflowsError:
        """What a failed write means for its caller, and for the producer."""
        if isinstance(failure, UnknownTopicOrPartitionError):
            return NotFound(f"the topic {topic} does not exist")
        try:
            with kafka_errors(f"cannot write to {topic}"):
                raise failure
        except EventflowsError as error:
            if isinstance(error, Unavailable):
                self._replace(writer)
            if isinstance(failure, _PERHAPS_WRITTEN):
                return TimedOut(error.message)
            return error

    async def _started(self) -> KafkaWriter:
        """All who need a new producer wait for the same start."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start_shared())
            self._starting.add_done_callback(_look_at)
        return await asyncio.shield(self._starting)

    async def _start_shared(self) -> KafkaWriter:
        try:
            writer = KafkaWriter(await self._start())
        finally:
            self._starting = None
        if self.users:
            self._writer = writer
        else:
            self._retire(writer)
        return writer

    async def _start(self) -> AIOKafkaProducer:
        connection = self._connection
        producer = AIOKafkaProducer(
            **client_settings(connection, client_id=self._client_id),
            enable_idempotence=True,
            acks="all",
            max_request_size=RECORD_BYTES_MAX,
            max_batch_size=BATCH_BYTES_MAX,
        )
        keep_sequences(producer, gap_left=lambda: self._end(producer))
        try:
            with kafka_errors("cannot write"):
                async with asyncio.timeout(START_TIMEOUT_S):
                    await producer.start()
        except Unavailable as error:
            await stop_producer(producer, wait_s=CLOSE_TIMEOUT_S)
            if not isinstance(error.__cause__, KafkaConnectionError):
                raise
            raise await diagnose(connection) or error from error.__cause__
        except BaseException:
            await stop_producer(producer, wait_s=CLOSE_TIMEOUT_S)
            raise
        return producer

    def _end(self, producer: AIOKafkaProducer) -> None:
        """The next `send` begins with a new one; perhaps nobody waits for what this one failed."""
        if self._writer is not None and self._writer.producer is producer:
            self.release()

    def _replace(self, writer: KafkaWriter) -> None:
        """The next `send` begins with a new producer; running ones end with the old one."""
        if self._writer is writer:
            self._writer = None
        writer.is_retired = True

    def _retire(self, writer: KafkaWriter) -> None:
        """End a producer once its last write is over, in a task of its own.

        Whoever wrote last may have no time: a worker that was cancelled ends while its partitions
        are revoked, and a producer whose broker is away takes seconds to end.
        """
        writer.is_retired = True
        if not writer.writes:
            stopping = asyncio.create_task(
                stop_producer(writer.producer, wait_s=CLOSE_TIMEOUT_S), name="a producer ends"
            )
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)


class KafkaProducers:
    """All producers of this process, by connection."""

    def __init__(self, *, client_id: str = "eventflows-router") -> None:
        self._client_id = client_id
        self._shared: dict[KafkaConnection, SharedProducer] = {}
        self._ending: set[SharedProducer] = set()

    @property
    def open_count(self) -> int:
        """Producers that are connected and have a user."""
        return sum(shared.is_open for shared in self._shared.values())

    def use(self, connection: KafkaConnection) -> SharedProducer:
        """For one more user of a connection, until it calls `release`; nothing is connected before
        the first `send`."""
        shared = self._shared.get(connection)
        if shared is None:
            shared = SharedProducer(connection, client_id=self._client_id)
            self._shared[connection] = shared
        shared.users += 1
        return shared

    async def release(self, connection: KafkaConnection) -> None:
        """One user less; the last one has the producer closed, and does not wait for that."""
        shared = self._shared.get(connection)
        if shared is None:
            return
        shared.users -= 1
        if not shared.users:
            del self._shared[connection]
            shared.release()
            self._ending.add(shared)
            self._ending = {each for each in self._ending if each.is_ending}

    async def close(self) -> None:
        """Close every producer; return when all have ended. Harmless twice."""
        shared = {*self._shared.values(), *self._ending}
        self._shared.clear()
        self._ending.clear()
        await asyncio.gather(*(each.close() for each in shared))


def _look_at(task: asyncio.Task[KafkaWriter]) -> None:
    """Whoever waited has gone, perhaps; then nobody else sees the error."""
    if not task.cancelled():
        task.exception()
