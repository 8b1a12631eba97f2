"""The topics of our own Kafka are as we need them, also those that are there already."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from devstack import Kafka
from kernel.errors import StateForbids
from router.adapters import internal_topics
from router.adapters.internal_topics import TOPICS, InternalTopic, ensure_internal_topics

WAIT_S = 20.0
MESSAGE_BYTES_MAX = 24 * 1024 * 1024


async def test_internal_topics_take_large_records_and_making_them_again_is_harmless(
    kafka: Kafka,
) -> None:
    await asyncio.gather(*(ensure_internal_topics(kafka.bootstrap_servers) for _ in range(3)))
    names = [topic.name for topic in TOPICS]
    async with _admin(kafka) as admin:
        described = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics(names)}
    assert described == {topic.name: topic.partitions for topic in TOPICS}
    for name in names:
        assert int((await _config(kafka, name))["max.message.bytes"]) >= MESSAGE_BYTES_MAX
    assert (await _config(kafka, "router.workers"))["cleanup.policy"] == "compact,delete"


async def test_a_control_topic_with_the_wrong_partitions_stops_the_start(tmp_path: Path) -> None:
    server = Kafka(tmp_path / "kafka", name="wrong-kafka")
    try:
        await server.start()
        await server.create_topic("router.control", 3)
        with pytest.raises(StateForbids, match="has 3 partitions and must have 64"):
            await ensure_internal_topics(server.bootstrap_servers)
    finally:
        await server.stop()


async def test_a_topic_of_three_copies_that_exists_already_has_two_in_sync(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"router.test-{uuid.uuid4()}"
    await kafka.create_topic(name, 2, {"retention.ms": "3600000"})
    monkeypatch.setattr(internal_topics, "TOPICS", (InternalTopic(name=name, partitions=2),))

    await ensure_internal_topics(kafka.bootstrap_servers)
    assert (await _config(kafka, name))["min.insync.replicas"] == "1", "it has one copy"

    monkeypatch.setattr("servicekit.kafka_topics.REPLICATION_MAX", 1)  # as if it had three
    await ensure_internal_topics(kafka.bootstrap_servers)
    async with asyncio.timeout(WAIT_S):  # a broker hears of it a moment after the controller
        while (config := await _config(kafka, name))["min.insync.replicas"] != "2":
            await asyncio.sleep(0.05)
    assert config["retention.ms"] == "3600000", "what else was set on it stays"


async def _config(kafka: Kafka, topic: str) -> dict[str, str]:
    asked = ConfigResource(ConfigResourceType.TOPIC, topic)
    async with _admin(kafka) as admin:
        (answer,) = await admin.describe_configs([asked])
    return {name: value for name, value, *_ in answer.resources[0][4]}


@asynccontextmanager
async def _admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
