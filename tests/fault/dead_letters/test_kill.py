"""A worker that is killed or stopped in a redrive: the next one goes on with what has no mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.demo import steps, traffic
from tests.e2e.conftest import OWNER, Landscape
from tests.support.dead_letter_calls import calls_to, change_code
from tests.support.numbered import numbered_records

pytestmark = pytest.mark.fault
LETTERS = 60
RATE_PER_S = 10.0


@pytest.mark.parametrize("cleanly", [False, True])
async def test_a_redrive_goes_on_after_its_worker_was_killed(
    landscape: Landscape, folder: Path, cleanly: bool
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    images, labels = await landscape.topic("images"), await landscape.topic("labels")
    flow = await landscape.wire(algorithm, version, images, "subscriber")
    name = algorithm.split("/")[1]
    kafka, cluster = landscape.cluster.customer_kafka, landscape.cluster
    records = numbered_records(LETTERS, keys=7, fail=True)
    async with (
        calls_to(cluster) as calls,
        traffic.producer(kafka) as client,
        traffic.result_reader(kafka, labels) as results,
    ):
        await traffic.produce(client, images, records)
        await calls.until_letters(flow, LETTERS, page_size=500)
        await change_code(folder, name, lambda code: code.replace('("fail")', '("no")'))
        repaired = await steps.publish_version(landscape.owner, owner=OWNER, name=name)
        publisher = await landscape.wire(algorithm, repaired, labels, "publisher")
        await landscape.running(algorithm, publisher)
        task = await calls.request(
            "RequestRedrive", flow, algorithm_version=repaired, rate_per_s=RATE_PER_S
        )
        working = await calls.until(calls.routers[0], task, lambda one: one.succeeded > 5)
        assert working.succeeded < LETTERS
        victim = int(working.worker.removeprefix("router-"))
        if cleanly:
            await cluster.routers[victim].stop()
        else:
            cluster.routers[victim].kill()
        try:
            survivor = calls.routers[1 - victim]
            ended = await calls.until(survivor, task, lambda one: one.state == "finished")
        finally:
            await cluster.routers[victim].start()
        assert (ended.succeeded, ended.failed) == (LETTERS, 0)
        await results.to_the_end(timeout_s=60.0)
        assert results.numbers == set(range(LETTERS))
        assert not cleanly or len(results.results) == LETTERS
        assert await calls.letters(flow) == []
