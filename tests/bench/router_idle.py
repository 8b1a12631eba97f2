"""`router.idle_flows`: what 200 flows cost a worker that have nothing to do, and one of them."""

from __future__ import annotations

import asyncio
import time

import psutil

from examples.demo import steps
from tests.bench.cores import cpu_s
from tests.bench.measurement import SCALE, Aim, Measurement, measured
from tests.bench.router_world import ALGORITHM, RouterWorld, make_topics, router_world

FLOWS = int(200 * SCALE)
SECONDS = 20.0
SETTLE_S = 10.0
RUNNING_TIMEOUT_S = 120.0
KIB = 1024


async def measure() -> Measurement:
    """CPU and memory of the worker before the flows and with them, and how long a start takes."""
    async with router_world() as world:
        await asyncio.sleep(SETTLE_S)
        alone, alone_bytes = await _cost(world)
        names = [f"idle-{number}" for number in range(FLOWS)]
        await make_topics(world.cluster.kafka, names)
        flows = [await world.subscribe(name, wait=False) for name in names]
        await _all_run(world, flows)
        await asyncio.sleep(SETTLE_S)
        idle, idle_bytes = await _cost(world)
        started_s = await _start_again(world, flows)
    return measured(
        "router.idle_flows",
        [idle],
        unit=f"cores for {FLOWS} idle flows",
        reference="the same worker without a flow",
        reference_values=[max(alone, 0.001)],
        packages=["aiokafka", "faust-streaming", "uvloop"],
        aims=[Aim(what=f"cores for {FLOWS} flows", value=idle, limit=0.25)],
        notes={
            "KiB of memory a flow": round((idle_bytes - alone_bytes) / FLOWS / KIB),
            "s from the start of a worker until all run": round(started_s, 1),
            "flows": FLOWS,
        },
    )


async def _cost(world: RouterWorld) -> tuple[float, int]:
    """Cores used over some seconds, and bytes in memory."""
    pid = world.worker.pid
    used_s, at_s = cpu_s(pid), time.monotonic()
    await asyncio.sleep(SECONDS)
    cores = (cpu_s(pid) - used_s) / (time.monotonic() - at_s)
    return cores, int(psutil.Process(pid).memory_info().rss)


async def _start_again(world: RouterWorld, flows: list[str]) -> float:
    (worker,) = world.cluster.routers
    await worker.stop()
    at_s = time.monotonic()
    worker.spawn()
    await _all_run(world, flows)
    return time.monotonic() - at_s


async def _all_run(world: RouterWorld, flows: list[str]) -> None:
    await steps.wait_for_flows(
        world.owner, ALGORITHM, steps.is_running, ids=flows, timeout_s=RUNNING_TIMEOUT_S
    )
