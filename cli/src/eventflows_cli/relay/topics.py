"""The relay's two topics: made when they are missing, looked at when they are there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from kernel.errors import InvalidInput, StateForbids
from servicekit.kafka_goodbye import close_admin
from servicekit.kafka_topics import copies_possible, created_topics

RECORD_BYTES_MAX: Final = 24 * 1024 * 1024
"""As our internal topics: an algorithm's state has ten build logs of 16 kB and, without a limit in
number, versions with notes and samples of 48 kB."""
CONTENT_BYTES_MAX: Final = RECORD_BYTES_MAX - 64 * 1024
"""Of key, value and headers: the rest is Kafka's own part of a record and its batch."""
NAME_CHARACTERS_MAX: Final = 249
CLOSE_TIMEOUT_S: Final = 3.0
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
_NAME: Final = re.compile(rf"[a-zA-Z0-9._-]{{1,{NAME_CHARACTERS_MAX}}}")


def check_name(option: str, name: str) -> None:
    """Raises InvalidInput for what no Kafka would take as the name of a topic."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise InvalidInput(
            f"{option} must have 1 to {NAME_CHARACTERS_MAX} letters, digits, dots, underscores "
            "and hyphens"
        )


async def ensure(settings: Mapping[str, Any], *, full: str, state: str) -> None:
    """Make the topics that are missing, one partition each, with up to three copies.

    Raises StateForbids when a topic that is there would lose or reorder records, KafkaError,
    OSError.
    """
    admin = AIOKafkaAdminClient(**settings)
    await admin.start()
    try:
        copies = await copies_possible(admin)
        for name, config in ((full, FULL), (state, STATE)):
            await created_topics(admin, [NewTopic(name, 1, copies, topic_configs=dict(config))])
        await _check(admin, full, state)
    finally:
        await close_admin(admin, wait_s=CLOSE_TIMEOUT_S)


async def _check(admin: AIOKafkaAdminClient, full: str, state: str) -> None:
    for name in (full, state):
        if (count := await _partitions(admin, name)) != 1:
            raise StateForbids(
                f"the topic {name} has {count} partitions: the relay needs one, so that the order "
                "is that of the log; choose another topic"
            )
    for name, wanted in ((full, FULL), (state, STATE)):
        found = await _config(admin, name, wanted)
        for setting, value in wanted.items():
            if not _fits(setting, found.get(setting, ""), value):
                raise StateForbids(
                    f"the topic {name} has {setting} = {found.get(setting)}, so it would lose or "
                    f"refuse records: set it to {value}, or choose another topic"
                )


def _fits(setting: str, found: str, wanted: str) -> bool:
    if setting == "max.message.bytes" and found.isdigit():
        return int(found) >= int(wanted)
    return found == wanted


async def _partitions(admin: AIOKafkaAdminClient, name: str) -> int:
    """Number of partitions. A topic made a moment ago is not known to every broker at once."""
    for _ in range(KNOWN_ATTEMPTS_MAX):
        (topic,) = await admin.describe_topics([name])
        if not topic["error_code"]:
            return len(topic["partitions"])
        await asyncio.sleep(KNOWN_PAUSE_S)
    raise for_code(topic["error_code"])(name)


async def _config(
    admin: AIOKafkaAdminClient, name: str, wanted: Mapping[str, str]
) -> Mapping[str, str]:
    resource = ConfigResource(ConfigResourceType.TOPIC, name, configs=dict.fromkeys(wanted, ""))
    (answer,) = await admin.describe_configs([resource])
    (row,) = answer.resources
    return {str(entry[0]): str(entry[1]) for entry in row[4]}
