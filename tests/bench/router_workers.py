"""`router.workers`: eight flows on one worker and on two, wherever the machine runs them."""

from __future__ import annotations

import asyncio

from examples.demo import steps
from tests.bench.measurement import SCALE, Measurement, measured
from tests.bench.router_world import ALGORITHM, KEYS, RUN_TIMEOUT_S, RouterWorld, fill, router_world

REPETITIONS = 3
FLOWS = 8
RECORDS = int(80_000 * SCALE)
RECORD_BYTES = 200
PARTITIONS = 4
WARM_UP_SHARE = 0.1
READY_TIMEOUT_S = 90.0
SHARED_TIMEOUT_S = 60.0


async def measure() -> Measurement:
    """First with one worker, then with two: new topics each time, filled before."""
    one, two = [], []
    workers = []
    async with router_world(workers=2, pinned=False) as world:
        second = world.cluster.routers[1]
        await second.stop()
        for _ in range(REPETITIONS):
            rate, _ = await _run(world)
            one.append(rate)
        await second.start(timeout_s=READY_TIMEOUT_S)
        for _ in range(REPETITIONS):
            rate, used = await _run(world)
            two.append(rate)
            workers.append(used)
    return measured(
        "router.workers",
        two,
        unit="records/s with 2 workers",
        reference="with 1 worker",
        reference_values=one,
        packages=["aiokafka", "httptools", "uvloop"],
        notes={
            "flows on the workers, each run": ", ".join(workers),
            "flows": FLOWS,
            "records": RECORDS,
        },
    )


async def _run(world: RouterWorld) -> tuple[float, str]:
    """Records/s of all flows together, and how many of them each worker had."""
    topics = [await world.topic(PARTITIONS) for _ in range(FLOWS)]
    for topic in topics:
        await fill(world.cluster.kafka, topic, RECORDS // FLOWS, size_bytes=RECORD_BYTES, keys=KEYS)
    before = (await world.endpoint.count()).count
    flows = await asyncio.gather(*(world.subscribe(topic, wait=False) for topic in topics))
    begun = await world.endpoint.until(
        before + int(RECORDS * WARM_UP_SHARE), timeout_s=RUN_TIMEOUT_S
    )
    ended = await world.endpoint.until(before + RECORDS, timeout_s=RUN_TIMEOUT_S)
    running = await steps.wait_for_flows(
        world.owner, ALGORITHM, steps.is_running, ids=flows, timeout_s=SHARED_TIMEOUT_S
    )
    names = [flow["live"]["worker"] for flow in running]
    for flow in flows:
        await world.disable(flow)
    share = " + ".join(str(names.count(name)) for name in sorted(set(names)))
    return (ended.count - begun.count) / (ended.at_s - begun.at_s), share
