"""The router and its references do the same work, one after the other, on the same core."""

from __future__ import annotations

import statistics
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import psutil
from devstack import Process

from tests.bench.cores import MEASURED, OTHERS, cpu_s
from tests.bench.router_world import RUN_TIMEOUT_S, RouterWorld

WARM_UP_SHARE = 0.1
BUSY_SHARE = 0.9
"""Of a core: whoever uses more than this is what the others wait for."""

Contestant = Callable[[RouterWorld, str], AbstractAsyncContextManager[int]]
"""Works on a topic from entry to exit; gives the id of the process that does it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """One repetition. Shares are of a core, over the time that was measured."""

    records_per_s: float
    cpu_ms_per_1000: float
    own_share: float
    endpoint_share: float
    broker_share: float
    other_core_share: float

    @property
    def limit(self) -> str:
        """Which part the others waited for."""
        if self.own_share >= BUSY_SHARE:
            return "its own core"
        return "the other core" if self.other_core_share >= BUSY_SHARE else "no core: waiting"


@asynccontextmanager
async def router(world: RouterWorld, topic: str) -> AsyncIterator[int]:
    """Our worker, with the flow that it is asked for."""
    flow = await world.subscribe(topic, wait=False)
    try:
        yield world.worker.pid
    finally:
        await world.disable(flow)


def reference(name: str) -> Contestant:
    """A program of `references/`."""

    @asynccontextmanager
    async def run(world: RouterWorld, topic: str) -> AsyncIterator[int]:
        process = start_reference(world, name, topic, group=f"{name}-{topic}")
        try:
            yield process.pid
        finally:
            process.kill()

    return run


def start_reference(world: RouterWorld, name: str, topic: str, *, group: str) -> Process:
    """On the core that the router's worker has, which rests meanwhile."""
    url = f"{world.endpoint.url}/v1/algo/acme/instant/1.0.0"
    return Process.spawn(
        [
            sys.executable, "-m", f"tests.bench.references.{name}",
            world.cluster.kafka.bootstrap_servers, topic, group, url,
        ],
        name=name,
        log_path=world.cluster.data_dir / "logs" / f"{name}.log",
        cpus=MEASURED,
    )  # fmt: skip


async def effort(world: RouterWorld, contestant: Contestant, topic: str, records: int) -> Effort:
    """From the first tenth of the records to the last of them, as the endpoint counts them."""
    endpoint, broker = world.endpoint, world.cluster.kafka.process.pid
    before = (await endpoint.count()).count
    async with contestant(world, topic) as pid:
        warm = before + int(records * WARM_UP_SHARE)
        begun = await endpoint.until(warm, timeout_s=RUN_TIMEOUT_S)
        used_s = [cpu_s(pid), endpoint.cpu_s(), cpu_s(broker), _busy_s(OTHERS)]
        ended = await endpoint.until(before + records, timeout_s=RUN_TIMEOUT_S)
        now_s = [cpu_s(pid), endpoint.cpu_s(), cpu_s(broker), _busy_s(OTHERS)]
    took_s, count = ended.at_s - begun.at_s, ended.count - begun.count
    own_s, endpoint_s, broker_s, other_s = (
        now - then for now, then in zip(now_s, used_s, strict=True)
    )
    return Effort(
        records_per_s=count / took_s,
        cpu_ms_per_1000=own_s / count * 1e6,
        own_share=own_s / took_s,
        endpoint_share=endpoint_s / took_s,
        broker_share=broker_s / took_s,
        other_core_share=other_s / took_s,
    )


def median(efforts: Sequence[Effort], field: str) -> float:
    """Of one figure of all repetitions."""
    return float(statistics.median(getattr(one, field) for one in efforts))


def described(efforts: Sequence[Effort]) -> dict[str, float | str]:
    """What is worth knowing beside the figure."""
    return {
        "CPU ms per 1,000 records": round(median(efforts, "cpu_ms_per_1000"), 1),
        "share of its core": round(median(efforts, "own_share"), 2),
        "endpoint's share of a core": round(median(efforts, "endpoint_share"), 2),
        "broker's share of a core": round(median(efforts, "broker_share"), 2),
        "limit": statistics.mode(one.limit for one in efforts),
    }


def _busy_s(cpus: set[int]) -> float:
    """Seconds in which these cores did anything."""
    times = psutil.cpu_times(percpu=True)
    return sum(sum(times[cpu]) - times[cpu].idle - times[cpu].iowait for cpu in cpus)
