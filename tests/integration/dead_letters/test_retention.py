"""The internal topic keeps dead letters as long as the setting says, also one that exists."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from devstack import Kafka
from router.adapters.internal_topics import DEAD_LETTERS_TOPIC, ensure_internal_topics

WAIT_S = 20.0
TOPIC_SOURCE = 1
"""Kafka's number for what a topic says itself."""


async def config_of(kafka: Kafka, *, own_only: bool = False) -> dict[str, str]:
    """Of the topic with the cluster's defaults, or without them."""
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, DEAD_LETTERS_TOPIC)
        (answer,) = await admin.describe_configs([resource])
        return {
            name: value
            for name, value, _, source, *_ in answer.resources[0][4]
            if source == TOPIC_SOURCE or not own_only
        }
    finally:
        await admin.close()


async def until_kept(kafka: Kafka, seconds: float) -> dict[str, str]:
    """A broker hears of a change a moment after the controller has taken it."""
    async with asyncio.timeout(WAIT_S):
        while (config := await config_of(kafka))["retention.ms"] != str(int(seconds * 1_000)):
            await asyncio.sleep(0.05)
    return config


async def test_the_retention_follows_the_setting(kafka: Kafka) -> None:
    for seconds in (3_600.0, 7_200.0):
        await ensure_internal_topics(kafka.bootstrap_servers, dead_letter_retention_s=seconds)
        await until_kept(kafka, seconds)
    await ensure_internal_topics(kafka.bootstrap_servers)
    config = await until_kept(kafka, 30 * 86_400.0)
    assert int(config["max.message.bytes"]) > 24 * 1024 * 1024


async def test_letters_are_never_compacted_whatever_the_clusters_default_is(kafka: Kafka) -> None:
    await ensure_internal_topics(kafka.bootstrap_servers)
    await until_kept(kafka, 30 * 86_400.0)
    assert (await config_of(kafka, own_only=True))["cleanup.policy"] == "delete"
