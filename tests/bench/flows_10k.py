"""`router.change_10k`: how soon a worker acts on a change when 10,000 flows are defined."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from itertools import islice

from router.application.plans import FlowPlans
from router.application.supervisor import CAPACITY_MAX
from router.domain.run_mode import RunMode

from tests.bench.measurement import SCALE, Aim, Measurement, measured
from tests.support.many_flows import FollowedLog, ManyFlows, log_of_flows, running_flows

FLOWS = int(10_000 * SCALE)
CHANGES = 30
LIMIT_S = 1.0


async def measure() -> Measurement:
    """From the worker having read the change to the pump being told; all flows are enabled."""
    log, _ = log_of_flows(FLOWS)
    bytes_each = await _memory(FLOWS)
    async with running_flows(log) as many:
        started_s = await many.until(lambda: len(many.pumps) == min(CAPACITY_MAX, FLOWS))
        pauses = [await _pause(many, flow_id) for flow_id in islice(list(many.pumps), CHANGES)]
        enables = [await _another_version(many, number) for number in range(CHANGES // 3)]
        whole = [_derive_all(many.feed) for _ in range(3)]
    return measured(
        "router.change_10k",
        [1000 * seconds for seconds in pauses],
        unit="ms until a pump is told of a pause",
        reference="ms to derive the plans of all flows",
        reference_values=[1000 * seconds for seconds in whole],
        packages=["uvloop"],
        aims=[Aim(what="s, the slowest", value=max(pauses + enables), limit=LIMIT_S)],
        notes={
            "ms until the flows of an algorithm run another version": round(
                1000 * statistics.median(enables), 1
            ),
            "ms from the start until the flows with a place run": round(1000 * started_s),
            "bytes a flow, catalog and supervisor": round(bytes_each),
            "flows": FLOWS,
        },
    )


async def _pause(many: ManyFlows, flow_id: str) -> float:
    pump = many.pumps[flow_id]
    return await many.change(lambda: many.log.pause(flow_id), lambda: pump.mode is RunMode.PAUSED)


async def _another_version(many: ManyFlows, number: int) -> float:
    """All flows of an algorithm are touched, those with a place get another pump."""
    algorithm = next(iter(many.pumps.values())).spec.algorithm.name
    version = f"2.0.{number}"

    def all_run_it() -> bool:
        specs = [pump.spec for pump in many.pumps.values()]
        return all(s.version == version for s in specs if s.algorithm.name == algorithm)

    return await many.change(lambda: many.log.publish(f"acme/{algorithm}", version), all_run_it)


def _derive_all(feed: FollowedLog) -> float:
    """What a change would cost if nothing were kept."""
    plans = FlowPlans(feed, group_prefix="eventflows", is_complete=lambda: True)
    began_s = time.perf_counter()
    for flow_id in plans.enabled():
        plans.plan(flow_id)
    return time.perf_counter() - began_s


async def _memory(flows: int) -> float:
    """Traced bytes that a flow takes in a catalog and in a worker that owns all shards."""
    log, _ = log_of_flows(flows)
    tracemalloc.start()
    try:
        async with running_flows(log) as many:
            await many.until(lambda: len(many.pumps) == min(CAPACITY_MAX, flows))
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / flows
    finally:
        tracemalloc.stop()
