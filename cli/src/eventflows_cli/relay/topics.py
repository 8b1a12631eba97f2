"""The relay's two topics: made when they are missing, looked at when they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code
from kernel.errors import StateForbids

RECORD_BYTES_MAX: Final = 4 * 1024 * 1024
"""An algorithm's state has up to ten build logs of 16 kB, a command's events up to 512 kB."""
REPLICAS_MAX: Final = 3
KNOWN_ATTEMPTS_MAX: Final = 100
KNOWN_PAUSE_S: Final = 0.1

FULL: Final[Mapping[str, str]] = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(RECORD_BYTES_MAX),
}
STATE: Final[Mapping[str, str]] = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(RECORD_BYTES_MAX),
}


async def ensure(settings: Mapping[str, Any], *, full: str, state: str) -> None:
    """Make the topics that are missing, one partition each, on up to REPLICAS_MAX brokers.

    Raises StateForbids when a topic that is there would lose or reorder records, KafkaError,
    OSError.
    """
    admin = AIOKafkaAdminClient(**settings)
    await admin.start()
    try:
        brokers = (await admin.describe_cluster())["brokers"]
        for name, config in ((full, FULL), (state, STATE)):
            await _create(admin, name, config, min(REPLICAS_MAX, len(brokers)))
        await _check(admin, full, state)
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, name: str, config: Mapping[str, str], replication: int
) -> None:
    topic = NewTopic(name, 1, replication, topic_configs=dict(config))
    answer = await admin.create_topics([topic])
    for _, code, *message in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(*message)


async def _check(admin: AIOKafkaAdminClient, full: str, state: str) -> None:
    for name in (full, state):
        if (count := await _partitions(admin, name)) != 1:
            raise StateForbids(
                f"the topic {name} has {count} partitions: the relay needs one, so that the order "
                "is that of the log; choose another topic"
            )
    if "compact" in await _cleanup(admin, full):
        raise StateForbids(f"the topic {full} is compacted, which loses events: choose another one")
    if "compact" not in await _cleanup(admin, state):
        raise StateForbids(
            f"the topic {state} is not compacted, so old states would go: choose another one, "
            "or set its cleanup.policy to compact"
        )


async def _partitions(admin: AIOKafkaAdminClient, name: str) -> int:
    """Number of partitions. A topic made a moment ago is not known to every broker at once."""
    for _ in range(KNOWN_ATTEMPTS_MAX):
        (topic,) = await admin.describe_topics([name])
        if not topic["error_code"]:
            return len(topic["partitions"])
        await asyncio.sleep(KNOWN_PAUSE_S)
    raise for_code(topic["error_code"])(name)


async def _cleanup(admin: AIOKafkaAdminClient, name: str) -> str:
    resource = ConfigResource(ConfigResourceType.TOPIC, name, configs={"cleanup.policy": ""})
    (answer,) = await admin.describe_configs([resource])
    (row,) = answer.resources
    return next((str(entry[1]) for entry in row[4] if entry[0] == "cleanup.policy"), "")
