"""The topics of our own Kafka that a router needs, made before it starts.

Faust does not declare them (`topic_allow_declare=False`): a topic with the wrong number of
partitions would silently change which shard a flow has.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from kernel.backoff import delay_s
from kernel.errors import StateForbids, Unavailable
from servicekit.kafka_goodbye import close_admin
from servicekit.kafka_topics import (
    copies_of,
    copies_possible,
    created_topics,
    described_topics,
    in_sync_of,
    raise_settings,
)

from router.application.shards import CONTROL_TOPIC, SHARDS

WORKERS_TOPIC = "router.workers"
DEAD_LETTERS_TOPIC = "dead-letters"
POSITIONS_TOPIC = "router.positions"

MESSAGE_BYTES_MAX = 24 * 1024 * 1024
DEAD_LETTER_ROOM_BYTES = 1024 * 1024
"""For the history and framing around a record that fills a completions topic's limit."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
YEAR_MS = 365 * DAY_MS
DEAD_LETTER_RETENTION_S = 30 * 86_400.0
REQUEST_TIMEOUT_MS = 10_000
CLOSE_TIMEOUT_S = 2.0
RETRY_FIRST_S = 0.2
RETRY_LONGEST_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalTopic:
    """A topic and what it needs. `config` is Kafka's topic configuration."""

    name: str
    partitions: int
    partitions_fixed: bool = False
    config: Mapping[str, str] = field(default_factory=dict)


TOPICS = (
    InternalTopic(
        name=CONTROL_TOPIC,
        partitions=SHARDS,
        partitions_fixed=True,
        config={"retention.ms": str(HOUR_MS), "segment.ms": str(HOUR_MS)},
    ),
    InternalTopic(
        name=WORKERS_TOPIC,
        partitions=1,
        partitions_fixed=True,
        config={
            "cleanup.policy": "compact,delete",
            "retention.ms": str(HOUR_MS),
            "segment.ms": str(HOUR_MS),
            "min.cleanable.dirty.ratio": "0.1",
            "message.timestamp.type": "LogAppendTime",
        },
    ),
    InternalTopic(
        name=POSITIONS_TOPIC,
        partitions=1,
        partitions_fixed=True,
        config={
            "cleanup.policy": "compact,delete",
            "retention.ms": str(YEAR_MS),
            "segment.ms": str(DAY_MS),
            "min.cleanable.dirty.ratio": "0.2",
        },
    ),
    InternalTopic(
        name=DEAD_LETTERS_TOPIC,
        partitions=8,
        config={
            "cleanup.policy": "delete",  # a cluster whose default is another one would lose letters
            "retention.ms": str(int(DEAD_LETTER_RETENTION_S * 1_000)),
            "segment.ms": str(DAY_MS),
            "max.message.bytes": str(MESSAGE_BYTES_MAX + DEAD_LETTER_ROOM_BYTES),
        },
    ),
)


async def ensure_internal_topics(
    bootstrap_servers: str, *, dead_letter_retention_s: float = DEAD_LETTER_RETENTION_S
) -> None:
    """Make the topics that are missing; return when all exist. Waits for Kafka as long as it takes.

    Of one that exists already and has three copies or more, two must have a record from now on. The
    topic of dead letters gets this retention also if it exists, and no setting but ours.
    Any number of workers may call it at the same time. Raises StateForbids when a topic exists with
    a number of partitions that the router cannot work with: a person has to act.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            await _ensure_once(bootstrap_servers, dead_letter_retention_s)
        except (KafkaError, Unavailable) as error:
            wait_s = delay_s(
                attempt, first_s=RETRY_FIRST_S, longest_s=RETRY_LONGEST_S, random=random.random
            )
            _log.warning("internal topics cannot be made yet: %s: %s", type(error).__name__, error)
            await asyncio.sleep(wait_s)
        else:
            return


async def _ensure_once(bootstrap_servers: str, dead_letter_retention_s: float) -> None:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS
    )
    try:
        await admin.start()
        copies = await copies_possible(admin)
        await created_topics(admin, [_new_topic(topic, copies) for topic in TOPICS])
        described = await described_topics(admin, [topic.name for topic in TOPICS])
        _require_partitions(described)
        for topic in TOPICS:
            copies = copies_of(described[topic.name])
            if topic.name == DEAD_LETTERS_TOPIC:
                await _keep_dead_letters(admin, topic, copies, retention_s=dead_letter_retention_s)
            else:
                await raise_settings(admin, topic.name, in_sync_of(copies))
    finally:
        await close_admin(admin, wait_s=CLOSE_TIMEOUT_S)


def _new_topic(topic: InternalTopic, copies: int) -> NewTopic:
    config = config_of(topic, copies)
    return NewTopic(topic.name, topic.partitions, copies, topic_configs=config)


def config_of(topic: InternalTopic, copies: int) -> dict[str, str]:
    """Kafka's configuration of a topic that has so many copies."""
    in_sync = {name: str(value) for name, value in in_sync_of(copies).items()}
    return {"max.message.bytes": str(MESSAGE_BYTES_MAX), **topic.config, **in_sync}


async def _keep_dead_letters(
    admin: AIOKafkaAdminClient, topic: InternalTopic, copies: int, *, retention_s: float
) -> None:
    config = {**config_of(topic, copies), "retention.ms": str(int(retention_s * 1_000))}
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, config)
    (answer,) = await admin.alter_configs([resource])
    for code, reason, *_ in answer.resources:
        if code:
            raise for_code(code)(f"{topic.name}: {reason}")


def _require_partitions(described: Mapping[str, Any]) -> None:
    for topic in TOPICS:
        have = len(described[topic.name]["partitions"])
        if topic.partitions_fixed and have != topic.partitions:
            raise StateForbids(
                f"The topic {topic.name} has {have} partitions and must have {topic.partitions}: "
                "stop all routers, delete it, and start them again."
            )
