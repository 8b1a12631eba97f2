"""Several workers: flows are shared out, a dead worker's flows move, and nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiokafka import AIOKafkaProducer

from examples.demo import steps, traffic
from examples.demo.records import DemoRecord
from examples.demo.verdict import judge
from tests.e2e.conftest import Landscape
from tests.support.numbered import numbered_records

RESULTS_TIMEOUT_S = 90.0
TAKE_OVER_TIMEOUT_S = 40.0


async def test_a_worker_killed_in_mid_flow_loses_nothing_and_breaks_no_order(
    landscape: Landscape, folder: Path
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    images, labels = await landscape.topic("images"), await landscape.topic("labels")
    subscriber = await landscape.wire(algorithm, version, images, "subscriber")
    publisher = await landscape.wire(algorithm, version, labels, "publisher")
    running = await landscape.running(algorithm, subscriber, publisher)
    records = numbered_records(1500, keys=40, work_s=0.002)
    kafka = landscape.cluster.customer_kafka
    async with traffic.result_reader(kafka, labels) as reader, traffic.producer(kafka) as client:
        await traffic.produce(client, images, records)
        assert await reader.until(len(records) // 4, timeout_s=RESULTS_TIMEOUT_S)
        victim = _worker_of(landscape, _flow(running, subscriber))
        landscape.cluster.routers[victim].kill()
        assert await reader.until(len(records), timeout_s=RESULTS_TIMEOUT_S)
        await landscape.cluster.routers[victim].start()
        await reader.to_the_end(timeout_s=RESULTS_TIMEOUT_S)
    verdict = judge(records, reader.results)
    assert (verdict.lost, verdict.order_breaks) == (0, 0)
    assert verdict.accuracy == 1.0


async def test_two_workers_share_the_flows_and_one_takes_over_the_others(
    landscape: Landscape, folder: Path
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    topics = [await landscape.topic("shared", partitions=1) for _ in range(8)]
    labels = await landscape.topic("labels", partitions=1)
    ids = [await landscape.wire(algorithm, version, topic, "subscriber") for topic in topics]
    publisher = await landscape.wire(algorithm, version, labels, "publisher")
    async with asyncio.timeout(TAKE_OVER_TIMEOUT_S):
        while len({f["live"]["worker"] for f in await landscape.running(algorithm, *ids)}) < 2:
            await asyncio.sleep(steps.POLL_PAUSE_S)
    shared = await landscape.running(algorithm, *ids, publisher)
    victim = _worker_of(landscape, shared[0])
    name = shared[0]["live"]["worker"]
    records = numbered_records(len(topics) * 20, keys=len(topics))
    before, after = records[: len(records) // 2], records[len(records) // 2 :]
    kafka = landscape.cluster.customer_kafka
    async with traffic.result_reader(kafka, labels) as reader, traffic.producer(kafka) as client:
        await _produce_by_key(client, topics, before)
        assert await reader.until(len(before), timeout_s=RESULTS_TIMEOUT_S)
        landscape.cluster.routers[victim].kill()
        try:
            await _produce_by_key(client, topics, after)
            assert await reader.until(len(records), timeout_s=RESULTS_TIMEOUT_S)
            await steps.wait_for_flows(
                landscape.owner,
                algorithm,
                lambda flow: steps.is_running(flow) and flow["live"]["worker"] != name,
                ids=ids,
                timeout_s=TAKE_OVER_TIMEOUT_S,
            )
        finally:
            await landscape.cluster.routers[victim].start()
    verdict = judge(records, reader.results)
    assert (verdict.lost, verdict.order_breaks) == (0, 0)


async def _produce_by_key(
    client: AIOKafkaProducer, topics: list[str], records: list[DemoRecord]
) -> None:
    """All records of a key go to one topic, so every topic has work."""
    for number, topic in enumerate(topics):
        await traffic.produce(
            client, topic, [one for one in records if one.number % len(topics) == number]
        )


def _flow(flows: list[steps.Flow], flow_id: str) -> steps.Flow:
    return next(flow for flow in flows if flow["id"] == flow_id)


def _worker_of(landscape: Landscape, flow: steps.Flow) -> int:
    """Index of the worker process that runs a flow."""
    names = [router.name for router in landscape.cluster.routers]
    return names.index(flow["live"]["worker"])
