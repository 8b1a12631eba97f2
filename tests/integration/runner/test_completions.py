"""A completion is durable before its caller hears of the run, or the caller hears to try again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import CreateAclsRequest
from aiokafka.structs import ConsumerRecord
from catalog.events import FlowDisabled
from catalog.identifiers import completions_topic
from devstack import Kafka
from kernel.errors import Unavailable
from runner.adapters.kafka_completions import KafkaCompletions
from runner.adapters.memory_completions import MemoryCompletions
from runner.application.topic_upkeep import keep_topics
from runner.domain.completion import Completion

from tests.integration.runner.completions import completion
from tests.integration.runner.conftest import published_probe
from tests.integration.runner.world import World, runner_world
from tests.support.kafka_acls import WITH_ACLS
from tests.support.runner_catalog import CALLER, FedCatalog

TOPIC, PREFIXED, ALL, ALTER_CONFIGS, DENY, ALLOW = 2, 4, 2, 11, 2, 3
"""Numbers of Kafka's protocol for ACLs."""
READ_TIMEOUT_S = 20.0
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def live(
    kafka: Kafka, environments: Path, probe_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[World, str]]:
    """A runner on real Kafka with a followed probe; its id."""
    completions = KafkaCompletions(kafka.bootstrap_servers)
    async with runner_world(
        tmp_path_factory.mktemp("live"),
        completions,
        environments=environments,
        processes_per_version_max=2,
    ) as world:
        algorithm_id = await published_probe(world, probe_url)
        world.registry.follow(algorithm_id)
        yield world, algorithm_id
    await completions.close()


async def test_a_success_is_in_kafka_before_the_answer(
    live: tuple[World, str], kafka: Kafka
) -> None:
    world, algorithm_id = live
    position = world.registry.catalog.position
    answer = await world.run(
        "probe",
        json={"do": "complete"},
        X_Eventflows_Request_Id="run-1",
        X_Eventflows_Record_Key="a2V5LTE=",
        X_Eventflows_Hops="3",
        traceparent=TRACE,
    )
    assert answer.status == 200
    record = (await _records(kafka, algorithm_id))["run-1"]
    assert record.key == b"key-1"
    assert json.loads(record.value) == answer.json["result"]
    assert dict(record.headers) == {
        "ef-status": b"succeeded",
        "ef-version": b"1.0.0",
        "ef-mode": b"live",
        "ef-request-id": b"run-1",
        "ef-content-type": b"json",
        "ef-hops": b"3",
        "ef-position": str(position).encode(),
        "ef-account": CALLER.encode(),
        "traceparent": TRACE.encode(),
    }


async def test_text_and_bytes_are_written_bare_and_keyed_by_the_request_id(
    live: tuple[World, str], kafka: Kafka
) -> None:
    world, algorithm_id = live
    text = await world.run(
        "probe", "Grüße".encode(), content_type="text/plain", X_Eventflows_Request_Id="text"
    )
    data = await world.run("probe", json={"do": "bytes"}, X_Eventflows_Request_Id="bytes")
    assert (text.status, data.status) == (200, 200), (text.body, data.body)
    records = await _records(kafka, algorithm_id)
    assert (records["text"].key, records["text"].value) == (b"text", "Grüße".encode())
    assert dict(records["text"].headers)["ef-content-type"] == b"text"
    assert records["bytes"].value == bytes(range(256))
    assert dict(records["bytes"].headers)["ef-content-type"] == b"binary"


async def test_a_failure_leaves_a_failed_completion(live: tuple[World, str], kafka: Kafka) -> None:
    world, algorithm_id = live
    await world.run("probe", json={"do": "raise"}, X_Eventflows_Request_Id="failed")
    record = (await _records(kafka, algorithm_id))["failed"]
    assert dict(record.headers)["ef-status"] == b"failed"
    assert json.loads(record.value)["error_type"] == "InputError"


async def test_a_repeated_call_leaves_no_second_completion(
    live: tuple[World, str], kafka: Kafka
) -> None:
    world, algorithm_id = live
    for _ in range(2):
        await world.run("probe", json={"do": "once"}, X_Eventflows_Request_Id="once")
    assert await _count(kafka, algorithm_id, "once") == 1


async def test_a_replay_leaves_no_completion(live: tuple[World, str], kafka: Kafka) -> None:
    world, algorithm_id = live
    answer = await world.run(
        "probe", json={"do": "x"}, X_Eventflows_Request_Id="again", X_Eventflows_Mode="replay"
    )
    assert answer.status == 200
    assert await _count(kafka, algorithm_id, "again") == 0


async def test_a_completion_of_14_mb_fits(live: tuple[World, str], kafka: Kafka) -> None:
    world, algorithm_id = live
    answer = await world.run(
        "probe", json={"do": "letters", "count": 14_000_000}, X_Eventflows_Request_Id="big"
    )
    assert answer.status == 200
    assert len((await _records(kafka, algorithm_id))["big"].value) == 14_000_000


async def test_the_topic_has_our_partitions_retention_and_size(
    live: tuple[World, str], kafka: Kafka
) -> None:
    world, algorithm_id = live
    answer = await world.run("probe", json={"do": "x"}, X_Eventflows_Request_Id="makes-its-topic")
    assert answer.status == 200
    topic = completions_topic(algorithm_id)
    async with _admin(kafka) as admin:
        (described,) = await admin.describe_topics([topic])
    config = await _config(kafka, topic)
    assert len(described["partitions"]) == 8
    assert config["retention.ms"] == str(7 * 24 * 3_600_000)
    assert config["max.message.bytes"] == str(24 * 1024 * 1024)


async def test_a_topic_that_is_made_keeps_its_completions_as_long_as_is_set(kafka: Kafka) -> None:
    completions, one = KafkaCompletions(kafka.bootstrap_servers, retention_days=2), completion()
    try:
        await completions.prepare(one.algorithm_id)
    finally:
        await completions.close()
    config = await _config(kafka, completions_topic(one.algorithm_id))
    assert config["retention.ms"] == str(2 * 24 * 3_600_000)


async def test_a_topic_made_by_hand_for_small_records_takes_every_completion(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servicekit.kafka_topics.REPLICATION_MAX", 1)  # as if it had three copies
    completions, one = KafkaCompletions(kafka.bootstrap_servers), completion(bytes(100_000))
    topic = completions_topic(one.algorithm_id)
    by_hand = {"max.message.bytes": "2000", "retention.ms": "3600000"}
    async with _admin(kafka) as admin:
        await admin.create_topics([NewTopic(topic, 8, 1, topic_configs=by_hand)])
    try:
        await _written(completions, one)
    finally:
        await completions.close()
    assert len(await _all(kafka, one.algorithm_id)) == 1
    config = await _config(kafka, topic)
    assert config["max.message.bytes"] == str(24 * 1024 * 1024)
    assert config["min.insync.replicas"] == "2"
    assert config["retention.ms"] == "3600000", "what else was set by hand stays"


async def test_a_record_that_the_broker_refuses_as_too_large_breaks_no_later_write(
    kafka: Kafka,
) -> None:
    completions, small = KafkaCompletions(kafka.bootstrap_servers), completion()
    large = replace(small, value=bytes(100_000))
    topic = completions_topic(small.algorithm_id)
    try:
        await completions.write(small)
        lower = {"max.message.bytes": "2000"}
        async with _admin(kafka) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, lower)])
        with pytest.raises(Unavailable, match="changed to take less"):
            await _write_on(completions, large)
        await completions.write(small)
        await _written(completions, large)
    finally:
        await completions.close()


async def test_a_limit_that_cannot_be_raised_is_unavailable_and_says_what_to_set() -> None:
    broker = Kafka(name="completions-denied", overrides=WITH_ACLS)
    await broker.start()
    completions = KafkaCompletions(broker.bootstrap_servers)
    try:
        await _deny_changes(broker, prefix="completions.")
        with pytest.raises(Unavailable, match=r"set its max\.message\.bytes to 25165824"):
            await _prepare_on(broker, completions)
    finally:
        await completions.close()
        await broker.stop()


async def test_a_topic_is_made_as_soon_as_a_flow_follows_and_before_any_run(kafka: Kafka) -> None:
    configuration, completions = FedCatalog(), KafkaCompletions(kafka.bootstrap_servers)
    changes: asyncio.Queue[int] = asyncio.Queue()

    async def positions() -> AsyncIterator[int]:
        while True:
            yield await changes.get()

    algorithm_id = configuration.add_algorithm("early", "https://example.org/early")
    configuration.follow(algorithm_id)
    upkeep = asyncio.create_task(keep_topics(configuration, positions(), completions))
    changes.put_nowait(configuration.catalog.position)
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            while completions_topic(algorithm_id) not in await kafka.topics():
                await asyncio.sleep(0.05)
    finally:
        upkeep.cancel()
        await completions.close()


async def test_without_followers_nothing_is_written(
    environments: Path, probe_url: str, tmp_path: Path
) -> None:
    completions = MemoryCompletions()
    async with runner_world(tmp_path, completions, environments=environments) as world:
        algorithm_id = await published_probe(world, probe_url)
        await world.run("probe", json={"do": "x"})
        assert completions.topics == {}
        world.registry.follow(algorithm_id)
        await world.run("probe", json={"do": "x"})
        assert len(completions.topics[completions_topic(algorithm_id)]) == 1
        flow_id = world.registry.catalog.flows()[0].flow_id
        world.registry.record(flow_id, FlowDisabled(flow_id=flow_id))
        await world.run("probe", json={"do": "x"})
        assert len(completions.topics[completions_topic(algorithm_id)]) == 1


async def test_a_broker_that_is_away_makes_it_503_and_a_later_call_writes_the_completion(
    environments: Path, probe_url: str, tmp_path: Path
) -> None:
    broker = Kafka(name="completions-away")
    await broker.start()
    completions = KafkaCompletions(broker.bootstrap_servers)
    try:
        async with runner_world(tmp_path, completions, environments=environments) as world:
            algorithm_id = await published_probe(world, probe_url)
            world.registry.follow(algorithm_id)
            order = {"do": "append", "path": str(tmp_path / "runs")}
            assert (await world.run("probe", json={"do": "warm"})).status == 200
            broker.kill()
            refused = await world.run("probe", json=order, X_Eventflows_Request_Id="away")
            assert refused.status == 503
            assert refused.headers["Retry-After"] == "1"
            await broker.restart()
            answer = await world.run("probe", json=order, X_Eventflows_Request_Id="away")
            assert answer.status == 200
            assert (tmp_path / "runs").read_text() == "x", "it is not run a second time"
            assert await _count(broker, algorithm_id, "away") >= 1
    finally:
        await completions.close()
        await broker.stop()


async def test_a_replaced_producer_leaves_nothing_behind_while_the_broker_is_away() -> None:
    broker = Kafka(name="completions-gone")
    await broker.start()
    completions = KafkaCompletions(broker.bootstrap_servers)
    before = asyncio.all_tasks()
    try:
        one = completion()
        await completions.write(one)
        broker.kill()
        with pytest.raises(Unavailable):
            await completions.write(one)
        await completions.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() - before == set()
    finally:
        await broker.stop()


@asynccontextmanager
async def _admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _config(kafka: Kafka, topic: str) -> dict[str, str]:
    async with _admin(kafka) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        (answer,) = await admin.describe_configs([resource])
    return {entry[0]: entry[1] for entry in answer.resources[0][4]}


async def _write_on(completions: KafkaCompletions, one: Completion) -> None:
    """Until it raises: the broker takes a moment to go by a change."""
    async with asyncio.timeout(READ_TIMEOUT_S):
        while True:
            await completions.write(one)


async def _deny_changes(kafka: Kafka, *, prefix: str) -> None:
    """From a moment after this, nobody may change the settings of topics with this prefix."""
    anybody = ("User:*", "*")
    async with _admin(kafka) as admin:
        client = admin._client
        for rule in ((ALL, ALLOW), (ALTER_CONFIGS, DENY)):
            request = CreateAclsRequest(TOPIC, prefix, PREFIXED, *anybody, *rule)
            created = await client.send(client.get_random_node(), request)
            assert [code for code, *_ in created.creation_responses] == [0], created


async def _prepare_on(kafka: Kafka, completions: KafkaCompletions) -> None:
    """One topic made by hand after the other, until it raises."""
    async with asyncio.timeout(READ_TIMEOUT_S), _admin(kafka) as admin:
        while True:
            algorithm_id = completion().algorithm_id
            small = NewTopic(
                completions_topic(algorithm_id), 1, 1, topic_configs={"max.message.bytes": "2000"}
            )
            await admin.create_topics([small])
            await completions.prepare(algorithm_id)


async def _written(completions: KafkaCompletions, one: Completion) -> None:
    """As a caller does: again while it is unavailable, since a topic's change takes a moment."""
    async with asyncio.timeout(READ_TIMEOUT_S):
        while True:
            try:
                return await completions.write(one)
            except Unavailable:
                await asyncio.sleep(0.05)


async def _records(kafka: Kafka, algorithm_id: str) -> dict[str, ConsumerRecord[bytes, bytes]]:
    found = await _all(kafka, algorithm_id)
    return {dict(record.headers)["ef-request-id"].decode(): record for record in found}


async def _count(kafka: Kafka, algorithm_id: str, request_id: str) -> int:
    found = await _all(kafka, algorithm_id)
    return sum(dict(one.headers)["ef-request-id"] == request_id.encode() for one in found)


async def _all(kafka: Kafka, algorithm_id: str) -> list[ConsumerRecord[bytes, bytes]]:
    """Everything in the topic up to its present end."""
    topic = completions_topic(algorithm_id)
    settings = kafka.client_settings()
    async with AIOKafkaConsumer(**settings, max_partition_fetch_bytes=32 * 1024**2) as consumer:
        partitions = [TopicPartition(topic, number) for number in range(8)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, 0)
        found: list[ConsumerRecord[bytes, bytes]] = []
        async with asyncio.timeout(READ_TIMEOUT_S):
            for partition, end in ends.items():
                while await consumer.position(partition) < end:
                    for records in (await consumer.getmany(partition, timeout_ms=500)).values():
                        found.extend(records)
        return found
