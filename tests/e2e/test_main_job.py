"""The main job by the public API: records in, runs, results out; failures become dead letters."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from devstack import Kafka
from devstack.rest import RestRefused
from eventflows.router.v1 import router_pb2, router_pb2_grpc

from examples.demo import steps, traffic
from examples.demo.verdict import judge
from tests.e2e.conftest import Landscape
from tests.support.numbered import numbered_records

RESULTS_TIMEOUT_S = 60.0
STATUS_TIMEOUT_S = 1.0
REVOKED_WITHIN_S = 1.0
PUMPING = {
    router_pb2.FLOW_STATE_STARTING,
    router_pb2.FLOW_STATE_RUNNING,
    router_pb2.FLOW_STATE_BACKING_OFF,
    router_pb2.FLOW_STATE_DRAINING,
}


async def test_records_on_one_topic_come_out_as_results_on_another(
    landscape: Landscape, folder: Path
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    images, labels = await landscape.topic("images"), await landscape.topic("labels")
    flows = [
        await landscape.wire(algorithm, version, images, "subscriber"),
        await landscape.wire(algorithm, version, labels, "publisher"),
    ]
    await landscape.running(algorithm, *flows)
    records = numbered_records(400, keys=20)
    kafka = landscape.cluster.customer_kafka
    async with traffic.result_reader(kafka, labels) as reader, traffic.producer(kafka) as client:
        await traffic.produce(client, images, records)
        assert await reader.until(len(records), timeout_s=RESULTS_TIMEOUT_S)
    verdict = judge(records, reader.results)
    assert verdict.passed
    assert verdict.repeated == 0


async def test_a_failing_record_becomes_a_dead_letter_with_its_history(
    landscape: Landscape, folder: Path
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    images, rejects = await landscape.topic("images"), await landscape.topic("rejects")
    await steps.grant(
        landscape.admin,
        connection=landscape.connection,
        topic=rejects,
        algorithms={algorithm: "dead_letter"},
    )
    flow = await landscape.wire(algorithm, version, images, "subscriber", dead_letter_topic=rejects)
    await landscape.running(algorithm, flow)
    kafka = landscape.cluster.customer_kafka
    good, bad = numbered_records(5, keys=2), numbered_records(1, keys=1, first=99, fail=True)
    async with traffic.producer(kafka) as client:
        await traffic.produce(client, images, [*good, *bad])
    message = await _one_record(kafka, rejects)
    headers = {name: value.decode() for name, value in message.headers}
    assert message.key == bad[0].key
    assert message.value == bad[0].value
    assert headers["ef-dl-flow"] == flow
    assert headers["ef-dl-algorithm"] == algorithm
    assert headers["ef-dl-version"] == version
    assert headers["ef-dl-topic"] == images
    assert headers["ef-dl-error-type"] == "InputError"
    assert "asked to fail" in headers["ef-dl-error"]
    history = json.loads(headers["ef-dl-history"])
    assert len(history) == int(headers["ef-dl-attempts"])
    assert "asked to fail" in history[-1]["error"]


async def test_without_a_topic_of_its_own_a_dead_letter_goes_to_the_internal_one(
    landscape: Landscape, folder: Path
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    images = await landscape.topic("images")
    flow = await landscape.wire(algorithm, version, images, "subscriber")
    await landscape.running(algorithm, flow)
    bad = numbered_records(1, keys=1, first=7, exit=True)
    async with traffic.producer(landscape.cluster.customer_kafka) as client:
        await traffic.produce(client, images, bad)
    message = await _one_record(landscape.cluster.kafka, "dead-letters", flow=flow)
    headers = {name: value.decode() for name, value in message.headers}
    assert message.value == bad[0].value
    assert headers["ef-dl-error-type"] == "SystemExit"
    assert headers["ef-dl-topic"] == images


async def test_a_dead_letter_topic_that_is_not_granted_is_refused(
    landscape: Landscape, folder: Path
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    images, rejects = await landscape.topic("images"), await landscape.topic("rejects")
    with pytest.raises(RestRefused) as refused:
        await landscape.wire(algorithm, version, images, "subscriber", dead_letter_topic=rejects)
    assert refused.value.status == 403
    assert rejects in json.dumps(refused.value.body)


async def test_a_revoked_grant_stops_the_flow_within_a_second(
    landscape: Landscape, folder: Path
) -> None:
    revoked, version = await landscape.algorithm(folder / "revoked")
    kept, kept_version = await landscape.algorithm(folder / "kept")
    images = await landscape.topic("images", partitions=1)
    labels, kept_labels = await landscape.topic("labels"), await landscape.topic("labels")
    publisher = await landscape.wire(revoked, version, labels, "publisher")
    kept_publisher = await landscape.wire(kept, kept_version, kept_labels, "publisher")
    both = {revoked: "subscriber", kept: "subscriber"}
    await steps.grant(
        landscape.admin, connection=landscape.connection, topic=images, algorithms=both
    )
    topic: dict[str, str] = {"topic": images, "api_type": "subscriber"}
    flow = await steps.enable(landscape.owner, revoked, version=version, **topic)
    kept_flow = await steps.enable(landscape.owner, kept, version=kept_version, **topic)
    await landscape.running(revoked, flow, publisher)
    await landscape.running(kept, kept_flow, kept_publisher)
    records = numbered_records(20, keys=2)
    kafka = landscape.cluster.customer_kafka
    async with (
        traffic.producer(kafka) as client,
        traffic.result_reader(kafka, labels) as results,
        traffic.result_reader(kafka, kept_labels) as kept_results,
    ):
        await traffic.produce(client, images, records[:10])
        assert await results.until(10, timeout_s=RESULTS_TIMEOUT_S)
        assert await kept_results.until(10, timeout_s=RESULTS_TIMEOUT_S)

        await steps.grant(
            landscape.admin,
            connection=landscape.connection,
            topic=images,
            algorithms={kept: "subscriber"},
        )
        async with asyncio.timeout(REVOKED_WITHIN_S):
            while await _runs_somewhere(landscape, flow):
                await asyncio.sleep(0.01)
        (shown,) = [
            one for one in await steps.flows_of(landscape.owner, revoked) if one["id"] == flow
        ]
        assert shown["state"] == "blocked"
        assert "grant" in shown["reason"]

        await traffic.produce(client, images, records[10:])
        assert await kept_results.until(20, timeout_s=RESULTS_TIMEOUT_S)
        await results.to_the_end(timeout_s=RESULTS_TIMEOUT_S)
        assert results.numbers == set(range(10))
        assert await _committed(kafka, images, flow) == 10

        await steps.grant(
            landscape.admin, connection=landscape.connection, topic=images, algorithms=both
        )
        assert await results.until(20, timeout_s=RESULTS_TIMEOUT_S)
        await results.to_the_end(timeout_s=RESULTS_TIMEOUT_S)
    verdict = judge(records, results.results)
    assert verdict.passed
    assert verdict.repeated == 0, "a record ran while the grant was revoked"


async def test_an_event_listener_is_shown_as_blocked_without_an_adapter(
    landscape: Landscape, folder: Path
) -> None:
    algorithm, _ = await landscape.algorithm(folder)
    listener = await steps.listen_to_queue(landscape.owner, landscape.user_id, algorithm)
    (flow,) = await steps.flows_of(landscape.owner, algorithm)
    assert flow["id"] == listener
    assert flow["state"] == "blocked"
    assert "no adapter yet" in flow["reason"]


async def _runs_somewhere(landscape: Landscape, flow: str) -> bool:
    """Does a worker have a pump for this flow, whatever the pump is doing?"""
    token = landscape.cluster.secrets.token("operator").read_text().strip()
    metadata = (("authorization", f"Bearer {token}"),)
    for address in landscape.cluster.router_addresses:
        async with grpc.aio.insecure_channel(address) as channel:
            answer = await router_pb2_grpc.RouterStub(channel).GetFlowStatus(
                router_pb2.GetFlowStatusRequest(flow_ids=[flow], local_only=True),
                metadata=metadata,
                timeout=STATUS_TIMEOUT_S,
            )
        if any(one.state in PUMPING for one in answer.flows):
            return True
    return False


async def _committed(kafka: Kafka, topic: str, flow: str) -> int:
    """How far the flow's consumer group has come on the topic's only partition."""
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    try:
        (group,) = [name for name, _ in await admin.list_consumer_groups() if name.endswith(flow)]
        offsets = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return int(offsets[TopicPartition(topic, 0)].offset)


async def _one_record(kafka: Kafka, topic: str, *, flow: str | None = None) -> Any:
    consumer = AIOKafkaConsumer(
        topic, group_id=None, auto_offset_reset="earliest", **kafka.client_settings()
    )
    await consumer.start()
    try:
        async with asyncio.timeout(RESULTS_TIMEOUT_S):
            async for message in consumer:
                if flow is None or dict(message.headers).get("ef-dl-flow") == flow.encode():
                    return message
    finally:
        await consumer.stop()
    raise AssertionError("the consumer ended")
