"""What the topics of our own Kafka need to lose nothing, also those that somebody else has made.

For services that depend on `eventflows-servicekit[kafka]`. aiokafka 0.14 can only set all of a
topic's settings at once: what stands there is said again. The price: what somebody changes between
the question and that is undone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    NodeNotReadyError,
    TopicAlreadyExistsError,
    for_code,
)
from kernel.errors import Unavailable

REPLICATION_MAX: Final = 3
"""Copies of each partition, or as many as there are brokers. aiokafka 0.14 speaks CreateTopics up
to v3, in which the cluster's own default cannot be asked for."""
IN_SYNC_MIN: Final = 2
"""Of three copies so many must have a record before it is acknowledged: with one, Kafka's default,
a broker that dies could take an acknowledged record along."""
IN_SYNC: Final = "min.insync.replicas"
SET_ON_TOPIC: Final = 1
"""`config_source` of Kafka's DescribeConfigs: DYNAMIC_TOPIC_CONFIG."""

_log = logging.getLogger(__name__)


def in_sync_of(copies: int) -> Mapping[str, int]:
    """The least that a topic of so many copies needs; nothing if fewer brokers must be enough."""
    return {IN_SYNC: IN_SYNC_MIN} if copies >= REPLICATION_MAX else {}


async def copies_possible(admin: AIOKafkaAdminClient) -> int:
    """How many copies a new topic gets here."""
    return max(1, min(REPLICATION_MAX, len((await admin.describe_cluster())["brokers"])))


async def created_topics(admin: AIOKafkaAdminClient, topics: Sequence[NewTopic]) -> frozenset[str]:
    """Make those that are missing; the names of those that were missing. Raises KafkaError."""
    try:
        answer = await admin.create_topics(list(topics))
    except AttributeError as error:
        # aiokafka 0.14 asks the controller, and does not look whether the cluster has one.
        if error.name != "nodeId":
            raise
        raise NodeNotReadyError("the cluster has no controller at the moment") from error
    errors = {name: (for_code(code), reason) for name, code, *reason in answer.topic_errors if code}
    for name, (error_type, reason) in errors.items():
        if error_type is not TopicAlreadyExistsError:
            raise error_type(f"{name}: {reason}")
    return frozenset(topic.name for topic in topics) - errors.keys()


async def described_topics(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Any]:
    """Each topic as the cluster describes it. Raises its error for one that is not there yet."""
    described = {}
    for found in await admin.describe_topics(list(names)):
        if found["error_code"]:
            raise for_code(found["error_code"])(f"{found['topic']} is not there yet")
        described[found["topic"]] = found
    return described


def copies_of(described: Mapping[str, Any]) -> int:
    """Of the partition that has the fewest. `described`: one of `described_topics`."""
    return min(len(partition["replicas"]) for partition in described["partitions"])


async def raise_settings(admin: AIOKafkaAdminClient, topic: str, least: Mapping[str, int]) -> None:
    """See that each of these settings of the topic is so much, or more. All others stay.

    Raises Unavailable, with what to set, when that is refused; else the driver's errors.
    """
    if not least:
        return
    asked = ConfigResource(ConfigResourceType.TOPIC, topic)
    answer = _single(await admin.describe_configs([asked]))[4]
    described = [(name, value, source) for name, value, _, source, *_ in answer]
    config = raised(described, least)
    if not config:
        return
    too_low = {name: value for name, value, _ in described if config.get(name, value) != value}
    told = ", ".join(f"{name} {value}" for name, value in too_low.items())
    wanted = ", ".join(f"{name} to {config[name]}" for name in too_low)
    try:
        _single(
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
        )
    except KafkaError as error:
        raise Unavailable(
            f"The topic {topic} has {told}, and that could not be changed "
            f"({type(error).__name__}): set its {wanted}."
        ) from error
    _log.warning("the topic %s had %s: we set its %s", topic, told, wanted)


def raised(described: Collection[tuple[str, str, int]], least: Mapping[str, int]) -> dict[str, str]:
    """All that has to be set on a topic so that `least` holds; empty if it does.

    `described`: name, value and source of each setting that counts there. What the topic says
    itself is among the answer; what it has from its cluster only if that is too low.
    """
    too_low = {
        name: str(least[name])
        for name, value, _ in described
        if name in least and int(value) < least[name]
    }
    if not too_low:
        return {}
    own = {name: value for name, value, source in described if source == SET_ON_TOPIC}
    return own | too_low


def _single(responses: list[Any]) -> tuple[Any, ...]:
    """What Kafka says of the one resource that it was asked about. Raises its error."""
    (response,) = responses
    (resource,) = response.resources
    code, reason = resource[:2]
    if code:
        raise for_code(code)(reason)
    return tuple(resource)
