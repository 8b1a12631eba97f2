"""A customer's cluster that dies delays its own flows only, and they heal by themselves."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaProducer
from devstack import free_ports

from examples.demo import steps, traffic
from examples.demo.records import DemoRecord
from examples.demo.verdict import judge
from tests.e2e.conftest import Landscape
from tests.support.numbered import numbered_records

RESULTS_TIMEOUT_S = 60.0
WARM_UP = 20
"""Records that pay for the start of the algorithm's sessions, so that the usual time is honest."""
WORK = 100
SLOWER_MAX = 5.0
SLACK_S = 5.0
CLUSTER_TROUBLE = re.compile("broker has not confirmed|nothing listens")
"""First it is missed, then connecting to it fails."""


async def test_an_unreachable_cluster_delays_only_its_own_flows_and_heals_by_itself(
    landscape: Landscape, folder: Path
) -> None:
    sick_algorithm, version = await landscape.algorithm(folder / "sick")
    images, labels = await landscape.topic("images"), await landscape.topic("labels")
    sick = await landscape.wire(sick_algorithm, version, images, "subscriber")
    publisher = await landscape.wire(sick_algorithm, version, labels, "publisher")
    await landscape.running(sick_algorithm, sick, publisher)
    records = numbered_records(100, keys=10)
    kafka = landscape.cluster.customer_kafka
    async with healthy_flow(landscape, folder / "healthy", name="other") as healthy:
        await healthy.work(WARM_UP)
        usual_s = await healthy.work(WORK)
        async with traffic.producer(kafka) as client:
            await traffic.produce(client, images, records[:50])
        kafka.kill()
        try:
            (delayed,) = await steps.wait_for_flows(
                landscape.owner, sick_algorithm, is_backing_off, ids=[sick]
            )
            assert CLUSTER_TROUBLE.search(delayed["reason"])
            meanwhile_s = await healthy.work(WORK)
            (still,) = await steps.wait_for_flows(
                landscape.owner, sick_algorithm, is_backing_off, ids=[sick]
            )
            assert CLUSTER_TROUBLE.search(still["reason"])
        finally:
            await kafka.restart()
        assert meanwhile_s < SLOWER_MAX * usual_s + SLACK_S
        await healthy.is_right()
    async with traffic.result_reader(kafka, labels) as reader, traffic.producer(kafka) as client:
        await traffic.produce(client, images, records[50:])
        assert await reader.until(len(records), timeout_s=RESULTS_TIMEOUT_S)
    verdict = judge(records, reader.results)
    assert (verdict.lost, verdict.order_breaks) == (0, 0)


async def test_a_cluster_that_was_never_reachable_is_told_and_disturbs_nobody(
    landscape: Landscape, folder: Path
) -> None:
    (nobody,) = free_ports(1)
    nowhere = await connect(landscape, name="nowhere", broker_url=f"127.0.0.1:{nobody}")
    tested = await landscape.admin.post(f"/v1/admin/broker-connections/{nowhere}/test", {})
    assert tested["connected"] is False
    assert "nothing listens" in tested["problem"]
    algorithm, version = await landscape.algorithm(folder / "sick")
    async with healthy_flow(landscape, folder / "healthy", name="beside") as healthy:
        await healthy.work(WARM_UP)
        usual_s = await healthy.work(WORK)
        await steps.grant(
            landscape.admin,
            connection=nowhere,
            topic="images",
            algorithms={algorithm: "subscriber"},
        )
        sick = await steps.enable(
            landscape.owner, algorithm, topic="images", api_type="subscriber", version=version
        )
        (shown,) = await steps.wait_for_flows(
            landscape.owner, algorithm, is_backing_off, ids=[sick]
        )
        assert f"127.0.0.1:{nobody}: nothing listens" in shown["reason"]
        beside_s = await healthy.work(WORK)
        assert beside_s < SLOWER_MAX * usual_s + SLACK_S
        await healthy.is_right()
    (still,) = await steps.flows_of(landscape.owner, algorithm)
    assert is_backing_off(still)


def is_backing_off(flow: steps.Flow) -> bool:
    """It cannot go on, and says why."""
    return bool(flow["state"] == "backing_off" and flow["reason"])


@dataclass(slots=True, kw_only=True)
class HealthyFlow:
    """Records in, results out, on our own Kafka: nothing of it touches the cluster that is away."""

    topic: str
    client: AIOKafkaProducer
    reader: traffic.ResultReader
    sent: list[DemoRecord] = field(default_factory=list)

    async def work(self, count: int) -> float:
        """Send `count` more records and wait for all their results: the seconds that it took."""
        began_s = time.monotonic()
        records = numbered_records(count, keys=10, first=len(self.sent))
        self.sent += records
        await traffic.produce(self.client, self.topic, records)
        assert await self.reader.until(len(self.sent), timeout_s=RESULTS_TIMEOUT_S)
        return time.monotonic() - began_s

    async def is_right(self) -> None:
        """Everything came, in order, and nothing twice."""
        await self.reader.to_the_end(timeout_s=RESULTS_TIMEOUT_S)
        verdict = judge(self.sent, self.reader.results)
        assert verdict.passed
        assert verdict.repeated == 0


@asynccontextmanager
async def healthy_flow(
    landscape: Landscape, folder: Path, *, name: str
) -> AsyncIterator[HealthyFlow]:
    """An algorithm with a flow in and a flow out on a connection `name` to our own Kafka."""
    kafka = landscape.cluster.kafka
    connection = await connect(landscape, name=name, broker_url=kafka.bootstrap_servers)
    algorithm, version = await landscape.algorithm(folder)
    ends = {f"{name}-in": "subscriber", f"{name}-out": "publisher"}
    ids = []
    for topic, api_type in ends.items():
        await kafka.create_topic(topic, partitions=2)
        await steps.grant(
            landscape.admin, connection=connection, topic=topic, algorithms={algorithm: api_type}
        )
        ids.append(
            await steps.enable(
                landscape.owner, algorithm, topic=topic, api_type=api_type, version=version
            )
        )
    await landscape.running(algorithm, *ids)
    async with (
        traffic.result_reader(kafka, f"{name}-out") as reader,
        traffic.producer(kafka) as client,
    ):
        yield HealthyFlow(topic=f"{name}-in", client=client, reader=reader)


async def connect(landscape: Landscape, *, name: str, broker_url: str) -> str:
    """A connection without credentials; returns its id."""
    answer = await landscape.admin.post(
        "/v1/admin/broker-connections",
        {
            "name": name,
            "broker_url": broker_url,
            "connection_type": "kafka_unauthenticated_plaintext",
        },
    )
    return str(answer["id"])
