"""Completions on our own Kafka: one idempotent producer, and the topics it writes to.

A producer that failed in any way is replaced: aiokafka has counted its sequence numbers up already,
so the broker would refuse what follows. The record may be there nevertheless, and comes again with
the caller's next attempt: followers see it twice, never not at all.

A topic that was made by hand is taken as it is, but for the size of its records: every completion
that we accept has to fit, so a lower limit is raised.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    for_code,
)
from catalog.identifiers import completions_topic
from kernel.errors import EventflowsError, TooLarge, Unavailable
from servicekit.kafka_goodbye import stop_producer

from runner.domain.completion import Completion
from runner.domain.limits import COMPLETION_BYTES_MAX

CLIENT_ID: Final = "eventflows-runner"
PARTITIONS: Final = 8
RETENTION_MS: Final = 7 * 24 * 3_600_000
REPLICATION_MAX: Final = 3
"""Or as many as there are brokers: aiokafka 0.14 cannot ask for the cluster's own default."""
IN_SYNC_MIN: Final = 2
"""Of three copies so many must have a completion before it is acknowledged."""
RECORD_LIMIT: Final = "max.message.bytes"
SET_ON_TOPIC: Final = 1
"""`config_source` of Kafka's DescribeConfigs: DYNAMIC_TOPIC_CONFIG."""
BATCH_BYTES_MAX: Final = 64 * 1024
START_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 10.0
TOPIC_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 5.0
REQUEST_TIMEOUT_MS: Final = 8_000

_log = logging.getLogger(__name__)


class KafkaCompletions:
    """Port `Completions`. `connect` may be called early, to know that Kafka is there."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        self._producer: AIOKafkaProducer | None = None
        self._start_lock = asyncio.Lock()
        self._topic_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._topics: set[str] = set()
        self._ending: set[asyncio.Task[bool]] = set()

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
        if topic in self._topics:
            return
        async with self._topic_locks.setdefault(topic, asyncio.Lock()):
            if topic not in self._topics:
                async with _unavailable(f"The topic {topic} could not be made"):
                    async with asyncio.timeout(TOPIC_TIMEOUT_S):
                        await self._make(topic)
                self._topics.add(topic)

    async def close(self) -> None:
        """Harmless twice."""
        if self._producer is not None:
            self._replace(self._producer)
        if self._ending:
            await asyncio.wait(self._ending)

    async def _started(self) -> AIOKafkaProducer:
        async with self._start_lock:
            if self._producer is None:
                self._producer = await self._start()
            return self._producer

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
            await stop_producer(producer, wait_s=STOP_TIMEOUT_S)
            raise
        return producer

    def _replace(self, broken: AIOKafkaProducer) -> None:
        producer = self._producer
        if producer is None or producer is not broken:
            return
        self._producer = None
        task = asyncio.create_task(stop_producer(producer, wait_s=STOP_TIMEOUT_S))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _make(self, topic: str) -> None:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._servers,
            client_id=CLIENT_ID,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await admin.start()
            brokers = (await admin.describe_cluster())["brokers"]
            copies = max(1, min(REPLICATION_MAX, len(brokers)))
            config = {"retention.ms": str(RETENTION_MS), RECORD_LIMIT: str(COMPLETION_BYTES_MAX)}
            if copies >= REPLICATION_MAX:
                config["min.insync.replicas"] = str(IN_SYNC_MIN)
            wanted = NewTopic(topic, PARTITIONS, copies, topic_configs=config)
            for _, code, *reason in (await admin.create_topics([wanted])).topic_errors:
                if code and for_code(code) is TopicAlreadyExistsError:
                    await _make_room(admin, topic)
                elif code:
                    raise for_code(code)(str(reason))
        finally:
            await admin.close()


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


async def _make_room(admin: AIOKafkaAdminClient, topic: str) -> None:
    """See that the topic takes records of COMPLETION_BYTES_MAX. Raises Unavailable if it cannot.

    aiokafka 0.14 can only set all of a topic's settings at once: what stands there is said again.
    """
    described = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    config: dict[str, str] = {}
    for name, value, _, source, *_ in _single(described)[4]:
        if source == SET_ON_TOPIC or name == RECORD_LIMIT:
            config[name] = value
    present = config[RECORD_LIMIT]
    if int(present) >= COMPLETION_BYTES_MAX:
        return
    config[RECORD_LIMIT] = str(COMPLETION_BYTES_MAX)
    try:
        _single(
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
        )
    except KafkaError as error:
        raise Unavailable(
            f"The topic {topic} takes records of at most {present} bytes, and that could not be "
            f"changed ({type(error).__name__}): set its {RECORD_LIMIT} to {COMPLETION_BYTES_MAX}."
        ) from error
    _log.warning(
        "the topic %s took records of %s bytes only: its limit was raised to %d",
        topic,
        present,
        COMPLETION_BYTES_MAX,
    )


def _single(responses: list[Any]) -> tuple[Any, ...]:
    """What Kafka says of the one resource that it was asked about. Raises its error."""
    (response,) = responses
    (resource,) = response.resources
    code, reason = resource[:2]
    if code:
        raise for_code(code)(reason)
    return tuple(resource)


@asynccontextmanager
async def _unavailable(what: str) -> AsyncIterator[None]:
    """The driver's errors end here."""
    try:
        yield
    except MessageSizeTooLargeError as error:
        raise TooLarge(f"{what}: it is larger than Kafka takes.") from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unavailable(f"{what} ({type(error).__name__}): try again later.") from error
