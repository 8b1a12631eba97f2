"""The half of `bootstrap.py` that is about dead letters: their index, who keeps it, who asks it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol
from zlib import crc32

import grpc.aio
from catalog.follow import CatalogFollower
from servicekit.database_address import read_dsn

from router.adapters.internal_topics import DEAD_LETTERS_TOPIC
from router.adapters.kafka_letter_feed import KafkaLetterFeed
from router.adapters.kafka_letter_marks import KafkaLetterMarks
from router.adapters.kafka_letter_topic import KafkaLetterTopic
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.letter_database import LetterDatabase
from router.adapters.postgres_letter_fold import PostgresLetterFold
from router.adapters.postgres_letter_queries import PostgresLetterQueries
from router.adapters.registry_tasks import RegistryTasks
from router.application.connections import Connections
from router.application.dead_letter_desk import DeadLetterDesk
from router.application.dead_letter_reader import DeadLetterReader, ReaderStatus
from router.application.dead_letter_tasks import DeadLetterTasks, readiness
from router.application.letter_bytes import LetterBytes
from router.application.own_topics import OwnTopics
from router.application.plans import FlowPlans
from router.application.redelivery import Redelivery
from router.application.shards import ShardOwnership
from router.application.task_figures import TaskFigures, TaskTotals
from router.application.task_tools import TaskTools
from router.control_ports import Workers
from router.dead_letter_ports import TaskPeers
from router.domain.flow_spec import INTERNAL_CONNECTION, FlowSpec
from router.domain.kafka_connection import KafkaConnection
from router.entrypoints.faust_app import Part
from router.ports import Clock
from router.settings import RouterSettings

TASK_CONNECTIONS: Final = 4
"""By which the tasks of a worker read letters: each reads one at a time, and they may want 1,024 at
once."""


class MakeRedelivery(Protocol):
    """What sends a flow's letters again."""

    async def __call__(self, spec: FlowSpec, *, figures: TaskFigures) -> Redelivery:
        """Raises NotFound, Unavailable, TimedOut while a connection cannot be resolved."""
        ...


def connection_number(task_id: str) -> int:
    """Of those for tasks, the one that a task reads by."""
    return crc32(task_id.encode()) % TASK_CONNECTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterHalf:
    """What a worker does with dead letters; without a database nothing (all None)."""

    reader: DeadLetterReader | None = None
    desk: DeadLetterDesk | None = None
    tasks: DeadLetterTasks | None = None

    @property
    def parts(self) -> Mapping[str, Part]:
        """In the order of their start."""
        parts = {"dead letter reader": self.reader, "dead letter tasks": self.tasks}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def status(self) -> ReaderStatus | None:
        """How the index's reader is doing here."""
        return None if self.reader is None else self.reader.status()

    @property
    def totals(self) -> TaskTotals | None:
        """What redrives and purges came to here."""
        return None if self.tasks is None else self.tasks.totals()

    async def stop(self) -> None:
        """Let the letters that are being redriven end, within the drain bound. Harmless twice."""
        if self.tasks is not None:
            await self.tasks.stop()

    def health(self) -> Mapping[str, Any] | None:
        """For the health page; no part of being ready, since no flow waits for it."""
        status, totals = self.status, self.totals
        if status is None or totals is None:
            return None
        return {
            "partitions": sorted(status.partitions),
            "lag_records": status.lag_records,
            "problem": status.problem,
            "tasks": dict(totals.tasks),
        }


@asynccontextmanager
async def open_dead_letters(
    settings: RouterSettings,
    *,
    internal: KafkaConnection,
    connections: Connections,
    follower: CatalogFollower,
    plans: FlowPlans,
    registry: grpc.aio.Channel,
    producers: KafkaProducers,
    workers: Workers,
    peers: TaskPeers,
    open_redelivery: MakeRedelivery,
    ownership: ShardOwnership,
    worker_id: str,
    clock: Clock,
) -> AsyncIterator[DeadLetterHalf]:
    """Connects nothing. Raises SettingsError for the file."""
    if settings.dead_letter_dsn_file is None:
        yield DeadLetterHalf()
        return

    def open_topic(connection_id: str, name: str) -> KafkaLetterTopic:
        connect = partial(connections.resolve, connection_id)
        return KafkaLetterTopic(connect, topic=name, client_id=worker_id)

    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            LetterDatabase(read_dsn(settings.dead_letter_dsn_file))
        )
        fold, queries = PostgresLetterFold(database), PostgresLetterQueries(database)
        # Connections of their own: whoever asks about a letter waits for no task, nor all tasks
        # for each other.
        for_desk, *for_tasks = (
            open_topic(INTERNAL_CONNECTION, DEAD_LETTERS_TOPIC) for _ in range(1 + TASK_CONNECTIONS)
        )
        stack.push_async_callback(_close, for_desk, *for_tasks)
        own_topics = OwnTopics(follower, open_topic)
        figures = TaskFigures()
        tools = TaskTools(
            index=queries,
            fold=fold,
            topic_of=lambda task_id: for_tasks[connection_number(task_id)],
            marks=KafkaLetterMarks(internal, producers=producers),
            ends=RegistryTasks(registry),
            ready=readiness(plans, follower, owns=ownership.owns),
            own_topic=own_topics.name,
            open_own=own_topics.open,
            open_redelivery=partial(open_redelivery, figures=figures),
            figures=figures,
            held=LetterBytes(),
            clock=clock,
            random=random.SystemRandom(),
        )
        yield DeadLetterHalf(
            reader=DeadLetterReader(
                feed=KafkaLetterFeed(internal, topic=DEAD_LETTERS_TOPIC, client_id=worker_id),
                index=fold,
                queries=queries,
                owned=lambda: ownership.owned,
                clock=clock,
                random=random.SystemRandom(),
                retention_s=settings.dead_letter_retention_s,
            ),
            desk=DeadLetterDesk(
                index=queries,
                topic=for_desk,
                topic_name=DEAD_LETTERS_TOPIC,
                own_topics=own_topics,
            ),
            tasks=DeadLetterTasks(
                worker_id=worker_id,
                feed=follower,
                is_complete=follower.caught_up.is_set,
                owns=ownership.owns,
                workers=workers,
                peers=peers,
                tools=tools,
            ),
        )


async def _close(*topics: KafkaLetterTopic) -> None:
    """All at once: while our Kafka is away each takes its time."""
    await asyncio.gather(*(topic.close() for topic in topics))
