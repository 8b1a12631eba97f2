"""A customer's cluster that dies delays its own flows only, and they heal by themselves."""

from __future__ import annotations

from pathlib import Path

from devstack import free_ports

from examples.demo import steps, traffic
from examples.demo.verdict import judge
from tests.e2e.conftest import Landscape
from tests.support.numbered import numbered_records

RESULTS_TIMEOUT_S = 60.0


async def test_an_unreachable_cluster_delays_only_its_own_flows_and_heals_by_itself(
    landscape: Landscape, folder: Path
) -> None:
    cluster = landscape.cluster
    other = await landscape.admin.post(
        "/v1/admin/broker-connections",
        {
            "name": "other",
            "broker_url": cluster.kafka.bootstrap_servers,
            "connection_type": "kafka_unauthenticated_plaintext",
        },
    )
    algorithm, version = await landscape.algorithm(folder / "sick")
    healthy_algorithm, healthy_version = await landscape.algorithm(folder / "healthy")
    images, labels = await landscape.topic("images"), await landscape.topic("labels")
    sick = [
        await landscape.wire(algorithm, version, images, "subscriber"),
        await landscape.wire(algorithm, version, labels, "publisher"),
    ]
    healthy = []
    for topic, api_type in (("healthy-in", "subscriber"), ("healthy-out", "publisher")):
        await cluster.kafka.create_topic(topic, partitions=2)
        await steps.grant(
            landscape.admin,
            connection=other["id"],
            topic=topic,
            algorithms={healthy_algorithm: api_type},
        )
        healthy.append(
            await steps.enable(
                landscape.owner,
                healthy_algorithm,
                topic=topic,
                api_type=api_type,
                version=healthy_version,
            )
        )
    await landscape.running(algorithm, *sick)
    await landscape.running(healthy_algorithm, *healthy)
    records = numbered_records(100, keys=10)
    kafka = cluster.customer_kafka
    async with traffic.producer(kafka) as client:
        await traffic.produce(client, images, records[:50])

    kafka.kill()
    try:
        async with (
            traffic.result_reader(cluster.kafka, "healthy-out") as healthy_reader,
            traffic.producer(cluster.kafka) as healthy_client,
        ):
            await traffic.produce(healthy_client, "healthy-in", records)
            assert await healthy_reader.until(len(records), timeout_s=RESULTS_TIMEOUT_S)
        assert judge(records, healthy_reader.results).passed
        (delayed,) = await steps.wait_for_flows(
            landscape.owner, algorithm, is_backing_off, ids=[sick[0]]
        )
        assert "broker" in delayed["reason"] or "listens" in delayed["reason"]
    finally:
        await kafka.restart()
    async with traffic.result_reader(kafka, labels) as reader, traffic.producer(kafka) as client:
        await traffic.produce(client, images, records[50:])
        assert await reader.until(len(records), timeout_s=RESULTS_TIMEOUT_S)
    assert judge(records, reader.results).lost == 0


async def test_a_cluster_that_was_never_reachable_is_told_and_disturbs_nobody(
    landscape: Landscape, folder: Path
) -> None:
    (nobody,) = free_ports(1)
    nowhere = await landscape.admin.post(
        "/v1/admin/broker-connections",
        {
            "name": "nowhere",
            "broker_url": f"127.0.0.1:{nobody}",
            "connection_type": "kafka_unauthenticated_plaintext",
        },
    )
    tested = await landscape.admin.post(f"/v1/admin/broker-connections/{nowhere['id']}/test", {})
    assert tested["connected"] is False
    assert "nothing listens" in tested["problem"]
    algorithm, version = await landscape.algorithm(folder)
    await steps.grant(
        landscape.admin,
        connection=nowhere["id"],
        topic="images",
        algorithms={algorithm: "subscriber"},
    )
    sick = await steps.enable(
        landscape.owner, algorithm, topic="images", api_type="subscriber", version=version
    )
    (shown,) = await steps.wait_for_flows(landscape.owner, algorithm, is_backing_off, ids=[sick])
    assert "nothing listens" in shown["reason"]
    images = await landscape.topic("images")
    healthy = await landscape.wire(algorithm, version, images, "subscriber")
    await landscape.running(algorithm, healthy)


def is_backing_off(flow: steps.Flow) -> bool:
    """It cannot go on, and says why."""
    return bool(flow["state"] == "backing_off" and flow["reason"])
