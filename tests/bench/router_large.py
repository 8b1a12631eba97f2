"""`router.large_record`: 15 MB from a topic to the algorithm."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.contest import Contestant, reference, router
from tests.bench.measurement import Measurement, measured
from tests.bench.router_world import RUN_TIMEOUT_S, RouterWorld, fill, router_world

REPETITIONS = 3
RECORD_BYTES = 15_000_000
WARM_UP_BYTES = 200
MIB = 1024 * 1024


async def measure() -> Measurement:
    """From written to arrived in one piece, with a small record before it as a warm-up."""
    async with router_world() as world:
        loop = [await _run(world, reference("plain_loop")) for _ in range(REPETITIONS)]
        before = _peak_bytes(world.worker.pid)
        ours = [await _run(world, router) for _ in range(REPETITIONS)]
        peak = _peak_bytes(world.worker.pid)
    return measured(
        "router.large_record",
        ours,
        unit="s from written to arrived",
        reference="plain loop",
        reference_values=loop,
        packages=["aiokafka", "aiohttp", "httptools", "uvloop"],
        notes={
            "record bytes": RECORD_BYTES,
            "MiB more at the worker's peak": round((peak - before) / MIB, 1),
        },
    )


async def _run(world: RouterWorld, contestant: Contestant) -> float:
    topic = await world.topic(1)
    kafka = world.cluster.kafka
    before = (await world.endpoint.count()).count
    async with contestant(world, topic):
        await fill(kafka, topic, 1, size_bytes=WARM_UP_BYTES, keys=1)
        await world.endpoint.until(before + 1, timeout_s=RUN_TIMEOUT_S)
        await fill(kafka, topic, 1, size_bytes=RECORD_BYTES, keys=1)
        written_s = time.monotonic()
        arrived = await world.endpoint.until(before + 2, timeout_s=RUN_TIMEOUT_S)
    return max(0.0, arrived.at_s - written_s)


def _peak_bytes(pid: int) -> int:
    """The most memory that the process ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("the kernel tells no VmHWM")
