"""The internal topic keeps dead letters as long as the setting says, also one that exists."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from devstack import Kafka
from router.adapters.internal_topics import DEAD_LETTERS_TOPIC, ensure_internal_topics


async def config_of(kafka: Kafka) -> dict[str, str]:
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, DEAD_LETTERS_TOPIC)
        (answer,) = await admin.describe_configs([resource])
        return {name: value for name, value, *_ in answer.resources[0][4]}
    finally:
        await admin.close()


async def test_the_retention_follows_the_setting(kafka: Kafka) -> None:
    for seconds in (3_600.0, 7_200.0):
        await ensure_internal_topics(kafka.bootstrap_servers, dead_letter_retention_s=seconds)
        config = await config_of(kafka)
        assert config["retention.ms"] == str(int(seconds * 1_000))
    await ensure_internal_topics(kafka.bootstrap_servers)
    config = await config_of(kafka)
    assert config["retention.ms"] == str(30 * 86_400_000)
    assert int(config["max.message.bytes"]) > 24 * 1024 * 1024
