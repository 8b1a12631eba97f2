"""The half of `bootstrap.py` that is about dead letters: their index and who keeps it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from catalog.follow import CatalogFollower
from servicekit.database_address import read_dsn

from router.adapters.internal_topics import DEAD_LETTERS_TOPIC
from router.adapters.kafka_letter_feed import KafkaLetterFeed
from router.adapters.kafka_letter_topic import KafkaLetterTopic
from router.adapters.letter_database import LetterDatabase
from router.adapters.postgres_letter_fold import PostgresLetterFold
from router.adapters.postgres_letter_queries import PostgresLetterQueries
from router.application.connections import Connections
from router.application.dead_letter_desk import DeadLetterDesk
from router.application.dead_letter_reader import DeadLetterReader
from router.domain.kafka_connection import KafkaConnection
from router.entrypoints.faust_app import Part
from router.ports import Clock
from router.settings import RouterSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterHalf:
    """What a worker does with dead letters; without a database nothing (`reader` None)."""

    reader: DeadLetterReader | None = None
    desk: DeadLetterDesk | None = None

    @property
    def parts(self) -> Mapping[str, Part]:
        """In the order of their start."""
        return {} if self.reader is None else {"dead letter reader": self.reader}


@asynccontextmanager
async def open_dead_letters(
    settings: RouterSettings,
    *,
    internal: KafkaConnection,
    connections: Connections,
    follower: CatalogFollower,
    worker_id: str,
    owned: Callable[[], frozenset[int]],
    clock: Clock,
) -> AsyncIterator[DeadLetterHalf]:
    """Connects nothing. Raises SettingsError for the file."""
    if settings.dead_letter_dsn_file is None:
        yield DeadLetterHalf()
        return
    topic = KafkaLetterTopic(internal, topic=DEAD_LETTERS_TOPIC, client_id=worker_id)

    async def open_topic(connection_id: str, name: str) -> KafkaLetterTopic:
        connection = await connections.resolve(connection_id)
        return KafkaLetterTopic(connection, topic=name, client_id=worker_id)

    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            LetterDatabase(read_dsn(settings.dead_letter_dsn_file))
        )
        stack.push_async_callback(topic.close)
        queries = PostgresLetterQueries(database)
        yield DeadLetterHalf(
            reader=DeadLetterReader(
                feed=KafkaLetterFeed(internal, topic=DEAD_LETTERS_TOPIC, client_id=worker_id),
                index=PostgresLetterFold(database),
                queries=queries,
                owned=owned,
                clock=clock,
                random=random.SystemRandom(),
                retention_s=settings.dead_letter_retention_s,
            ),
            desk=DeadLetterDesk(
                index=queries,
                topic=topic,
                topic_name=DEAD_LETTERS_TOPIC,
                feed=follower,
                open_topic=open_topic,
            ),
        )
