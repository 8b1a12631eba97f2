"""`router.repeats`: killed with -9 half-way at full speed, how much is delivered twice?"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.bench.contest import start_reference
from tests.bench.measurement import SCALE, Aim, Measurement, measured
from tests.bench.router_world import KEYS, RUN_TIMEOUT_S, RouterWorld, fill, router_world

KILLS = 5
REFERENCE_KILLS = 3
RECORDS = int(30_000 * SCALE)
RECORD_BYTES = 200
PARTITIONS = 12
READY_TIMEOUT_S = 90.0
LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """One kill. Shares of all records."""

    repeated: float
    lost: int


async def measure() -> Measurement:
    """Kills of the router's only worker, then of the plain loop, each started again at once."""
    ours, loop = [], []
    async with router_world(notes=True) as world:
        for _ in range(KILLS):
            ours.append(await _run(world, _kill_router))
        for _ in range(REFERENCE_KILLS):
            loop.append(await _run(world, _kill_loop))
    mean = statistics.mean(one.repeated for one in ours)
    return measured(
        "router.repeats",
        [one.repeated * 100 for one in ours],
        unit="% of the records delivered twice, median",
        reference="plain loop, commit each second",
        reference_values=[one.repeated * 100 for one in loop],
        packages=["aiokafka", "httptools", "uvloop"],
        aims=[
            Aim(what="mean %", value=mean * 100, limit=0.5),
            Aim(what="lost", value=sum(one.lost for one in ours), limit=0),
        ],
        notes={
            "mean %": round(mean * 100, 3),
            "each kill %": ", ".join(f"{one.repeated:.2%}" for one in ours),
            "plain loop, each kill %": ", ".join(f"{one.repeated:.2%}" for one in loop),
            "lost, plain loop": sum(one.lost for one in loop),
            "records": RECORDS,
            "partitions": PARTITIONS,
        },
    )


async def _run(world: RouterWorld, kill: Callable[[RouterWorld, str], Awaitable[None]]) -> Killed:
    topic = await world.topic(PARTITIONS)
    await fill(world.cluster.kafka, topic, RECORDS, size_bytes=RECORD_BYTES, keys=KEYS)
    await world.endpoint.forget()
    await kill(world, topic)
    notes = await world.endpoint.notes()
    known = {number for number, _ in notes}
    return Killed(repeated=(len(notes) - len(known)) / RECORDS, lost=RECORDS - len(known))


async def _kill_router(world: RouterWorld, topic: str) -> None:
    flow = await world.subscribe(topic, wait=False)
    await world.endpoint.until(RECORDS // 2, timeout_s=RUN_TIMEOUT_S)
    (worker,) = world.cluster.routers
    worker.kill()
    await worker.start(timeout_s=READY_TIMEOUT_S)
    await _all_came(world)
    await world.disable(flow)


async def _kill_loop(world: RouterWorld, topic: str) -> None:
    for is_last in (False, True):
        process = start_reference(world, "plain_loop", topic, group=f"killed-{topic}")
        if is_last:
            await _all_came(world)
        else:
            await world.endpoint.until(RECORDS // 2, timeout_s=RUN_TIMEOUT_S)
        process.kill()


async def _all_came(world: RouterWorld) -> None:
    """Wait until every number was noted: a count alone does not tell repeats from records."""
    async with asyncio.timeout(RUN_TIMEOUT_S):
        while True:
            await world.endpoint.until(RECORDS, timeout_s=RUN_TIMEOUT_S)
            if len({number for number, _ in await world.endpoint.notes()}) == RECORDS:
                return
            await asyncio.sleep(LOOK_S)
