"""Completions on our own Kafka: one idempotent producer, and the topics it writes to.

A producer that failed in any way is replaced: aiokafka has counted its sequence numbers up already,
so the broker would refuse what follows. The record may be there nevertheless, and comes again with
the caller's next attempt: followers see it twice, never not at all.

All who need a producer or a topic wait for the same attempt to get it, and get its error: while
Kafka is silent nobody waits for more than one attempt, however many wait.

A topic that was made by hand is taken as it is, but for two settings that are raised if they are
lower: every completion that we accept has to fit, and of three copies two must have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
)
from catalog.identifiers import completions_topic
from kernel.errors import EventflowsError, TooLarge, Unavailable
from servicekit.kafka_goodbye import close_admin, stop_producer
from servicekit.kafka_topics import (
    copies_of,
    copies_possible,
    created_topics,
    described_topics,
    in_sync_of,
    raise_settings,
)

from runner.adapters.shared_attempts import SharedAttempts
from runner.domain.completion import Completion
from runner.domain.limits import COMPLETION_BYTES_MAX, COMPLETION_RETENTION_DAYS

CLIENT_ID: Final = "eventflows-runner"
PARTITIONS: Final = 8
DAY_MS: Final = 24 * 3_600_000
RECORD_LIMIT: Final = "max.message.bytes"
BATCH_BYTES_MAX: Final = 64 * 1024
START_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 10.0
TOPIC_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 5.0
REQUEST_TIMEOUT_MS: Final = 8_000

_PRODUCER: Final = "producer"
"""The attempt to start one; all others are named by their topic."""


class KafkaCompletions:
    """Port `Completions`. `connect` may be called early, to know that Kafka is there. Topics that
    are made keep their completions for `retention_days`."""

    def __init__(
        self, bootstrap_servers: str, *, retention_days: int = COMPLETION_RETENTION_DAYS
    ) -> None:
        self._servers = bootstrap_servers
        self._retention_ms = retention_days * DAY_MS
        self._producer: AIOKafkaProducer | None = None
        self._topics: set[str] = set()
        self._attempts = SharedAttempts()
        self._ending: set[asyncio.Task[object]] = set()

    @property
    def connected(self) -> bool:
        """Is a producer up?"""
        return self._producer is not None

    async def connect(self) -> None:
        """Start the producer if there is none. Raises Unavailable."""
        await self._started()

    async def write(self, completion: Completion) -> None:
        """See `ports.Completions`."""
        await self.prepare(completion.algorithm_id)
        topic = completions_topic(completion.algorithm_id)
        producer = await self._started()
        try:
            async with _unavailable(f"The completion could not be written to {topic}"):
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await _send(producer, topic, completion)
        except EventflowsError:
            self._topics.discard(topic)  # it may be gone, or have been changed
            self._replace(producer)
            raise

    async def prepare(self, algorithm_id: str) -> None:
        """See `ports.Completions`. Remembered, so a topic is asked for once."""
        topic = completions_topic(algorithm_id)
        if topic not in self._topics:
            await self._attempts.join(topic, lambda: self._make(topic))

    async def close(self) -> None:
        """Harmless twice. Whoever still waits hears Unavailable."""
        await self._attempts.close()
        if self._producer is not None:
            self._replace(self._producer)
        if self._ending:
            await asyncio.wait(self._ending)

    async def _started(self) -> AIOKafkaProducer:
        return self._producer or await self._attempts.join(_PRODUCER, self._start)

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            client_id=CLIENT_ID,
            enable_idempotence=True,
            acks="all",
            max_request_size=COMPLETION_BYTES_MAX,
            max_batch_size=BATCH_BYTES_MAX,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            async with _unavailable("Our Kafka cannot be reached"):
                async with asyncio.timeout(START_TIMEOUT_S):
                    await producer.start()
        except BaseException:
            self._end(stop_producer(producer, wait_s=STOP_TIMEOUT_S))
            raise
        self._producer = producer
        return producer

    def _replace(self, broken: AIOKafkaProducer) -> None:
        producer = self._producer
        if producer is None or producer is not broken:
            return
        self._producer = None
        self._end(stop_producer(producer, wait_s=STOP_TIMEOUT_S))

    def _end(self, goodbye: Coroutine[Any, Any, object]) -> None:
        """Nobody but `close` waits for it."""
        task = asyncio.create_task(goodbye)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _make(self, topic: str) -> None:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._servers,
            client_id=CLIENT_ID,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            async with _unavailable(f"The topic {topic} could not be made"):
                async with asyncio.timeout(TOPIC_TIMEOUT_S):
                    await admin.start()
                    await _create(admin, topic, retention_ms=self._retention_ms)
            self._topics.add(topic)
        finally:
            self._end(close_admin(admin, wait_s=STOP_TIMEOUT_S))


async def _create(admin: AIOKafkaAdminClient, topic: str, *, retention_ms: int) -> None:
    """See that the topic is there, as we need it. Raises the driver's errors, and Unavailable."""
    copies = await copies_possible(admin)
    config = {"retention.ms": retention_ms, **_needs(copies)}
    config_text = {name: str(value) for name, value in config.items()}
    wanted = NewTopic(topic, PARTITIONS, copies, topic_configs=config_text)
    if topic not in await created_topics(admin, [wanted]):
        described = (await described_topics(admin, [topic]))[topic]
        await raise_settings(admin, topic, _needs(copies_of(described)))


async def _send(producer: AIOKafkaProducer, topic: str, completion: Completion) -> None:
    """Return once it is durable. Raises the driver's errors; MessageSizeTooLargeError only for what
    no topic of ours takes, Unavailable for what this one does not although it should."""
    written = await producer.send(
        topic, value=completion.value, key=completion.key, headers=list(completion.headers)
    )
    try:
        await written
    except MessageSizeTooLargeError as error:
        raise Unavailable(
            f"The topic {topic} was changed to take less than {COMPLETION_BYTES_MAX} bytes, which "
            "the next attempt undoes: try again."
        ) from error


def _needs(copies: int) -> dict[str, int]:
    """The least that a topic with so many copies must be set to."""
    return {RECORD_LIMIT: COMPLETION_BYTES_MAX, **in_sync_of(copies)}


@asynccontextmanager
async def _unavailable(what: str) -> AsyncIterator[None]:
    """The driver's errors end here."""
    try:
        yield
    except MessageSizeTooLargeError as error:
        raise TooLarge(f"{what}: it is larger than Kafka takes.") from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unavailable(f"{what} ({type(error).__name__}): try again later.") from error
