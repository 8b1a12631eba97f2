"""What is stuck is opened anew, and a worker that cannot help its flows ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from router.adapters.memory_restarts import MemoryRestarts
from router.application.health import HealthWatch, WorkerStuck
from router.domain.watchdog import (
    LOOK_MAX_S,
    STALL_MAX_S,
    WORKER_UPTIME_LONG_S,
    WORKER_UPTIME_MIN_S,
)

from tests.support.manual_clock import BEGINNING, until
from tests.unit.router_control.stage import Stage, running_supervisor, spec

A, B, C = (spec(name) for name in ("a", "b", "c"))


@dataclass(slots=True, kw_only=True)
class Watched:
    """A supervisor's flows under watch."""

    stage: Stage
    health: HealthWatch
    watching: asyncio.Task[None]

    async def wait(self, seconds: float, *, progress: tuple[str, ...] = ()) -> None:
        """Let time go by; flows that are named move on meanwhile."""
        for _ in range(round(seconds / LOOK_MAX_S)):
            for flow_id in progress:
                self.stage.newest(flow_id).progress += 1
            self.stage.clock.advance(LOOK_MAX_S)
            self.stage.ownership.confirm(at_s=self.stage.clock.monotonic_s())
            if self.watching.done():
                return
            await until(lambda: self.watching.done() or bool(self.stage.clock.waits()))

    def pumps(self, flow_id: str) -> int:
        """How many were made for the flow so far."""
        return len(self.stage.pumps[flow_id])

    def let_records_wait(self, flow_id: str) -> None:
        self.stage.lags[flow_id] = 7


@asynccontextmanager
async def watched(*flows: str, memory: MemoryRestarts | None = None) -> AsyncIterator[Watched]:
    async with running_supervisor() as stage:
        stage.plans.set(*(spec(name) for name in flows))
        await stage.until_running(*flows)
        health = HealthWatch(stage.supervisor, clock=stage.clock, memory=memory or MemoryRestarts())
        watching = asyncio.create_task(health.run())
        await until(lambda: bool(stage.clock.waits()))
        try:
            yield Watched(stage=stage, health=health, watching=watching)
        finally:
            watching.cancel()
            await asyncio.wait({watching})


async def stall(world: Watched, flow_id: str, *, progress: tuple[str, ...] = ()) -> None:
    """Until its source was opened anew twice, which did not help."""
    world.let_records_wait(flow_id)
    await world.wait(4 * STALL_MAX_S, progress=progress)
    assert world.watching.done() or world.pumps(flow_id) > 2


async def test_a_flow_without_progress_gets_another_pump_and_the_others_keep_theirs() -> None:
    async with watched("a", "b", "c") as world:
        world.let_records_wait("a")
        await world.wait(STALL_MAX_S + LOOK_MAX_S, progress=("b",))
        await until(lambda: world.pumps("a") == 2)
        assert world.stage.newest("a").spec == A
        assert (world.pumps("b"), world.pumps("c")) == (1, 1)
        (status, *_) = world.stage.supervisor.statuses()
        assert (status.healthy, status.source_restarts_total) == (False, 1)
        assert world.health.unhealthy == 1


async def test_progress_makes_it_healthy_again() -> None:
    async with watched("a") as world:
        world.let_records_wait("a")
        await world.wait(STALL_MAX_S + LOOK_MAX_S)
        await until(lambda: world.pumps("a") == 2)
        assert world.health.impaired
        await world.wait(LOOK_MAX_S, progress=("a",))
        assert world.stage.supervisor.statuses()[0].healthy
        assert not world.health.impaired


async def test_a_worker_ends_when_most_of_its_flows_stay_stuck() -> None:
    memory = MemoryRestarts()
    async with watched("a", memory=memory) as world:
        await world.wait(WORKER_UPTIME_MIN_S)
        await stall(world, "a")
        with pytest.raises(WorkerStuck, match="1 of 1 flows make no progress"):
            await world.watching
        assert set(memory.load()) == {"a"}


async def test_a_worker_that_just_started_does_not_end_itself() -> None:
    async with watched("a") as world:
        await stall(world, "a")
        assert not world.watching.done()


async def test_one_stuck_flow_ends_a_worker_of_good_ones_late_and_only_once() -> None:
    memory = MemoryRestarts()
    async with watched("a", "b", "c", memory=memory) as world:
        await world.wait(WORKER_UPTIME_MIN_S, progress=("b", "c"))
        await stall(world, "a", progress=("b", "c"))
        assert not world.watching.done()
        await world.wait(WORKER_UPTIME_LONG_S, progress=("b", "c"))
        assert world.watching.done()
        with pytest.raises(WorkerStuck):
            await world.watching
    memory.save(dict.fromkeys(memory.load(), BEGINNING))  # the next one's clock begins there
    async with watched("a", "b", "c", memory=memory) as world:
        await world.wait(WORKER_UPTIME_LONG_S, progress=("b", "c"))
        await stall(world, "a", progress=("b", "c"))
        await world.wait(WORKER_UPTIME_LONG_S, progress=("b", "c"))
        assert not world.watching.done(), "what a restart did not help is no reason for another"
