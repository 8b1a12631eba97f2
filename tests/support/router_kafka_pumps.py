"""Pumps on real brokers, with targets in memory or a runner behind them."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from router.adapters.kafka_consumer import GroupTimes
from router.adapters.memory_dead_letters import MemoryDeadLetters
from router.adapters.memory_target import MemoryTarget
from router.adapters.system_clock import SystemClock
from router.application.budget import WorkerBudget
from router.application.limits import PumpLimits
from router.application.pump import Pump
from router.domain.delivery import Run
from router.domain.flow_spec import FlowSpec
from router.domain.outcome import Outcome
from router.domain.status import PumpState, PumpStatus
from router.ports import DeadLetters, Source, Target

from tests.support.router_flows import KnownHistory
from tests.support.router_sources import QUICK_TIMES, WAIT_S, KafkaTopic

QUICK_LIMITS = PumpLimits(receive_wait_s=0.1, drain_s=QUICK_TIMES.drain_s, lag_interval_s=0.2)
LOOK_S = 0.01
"""A pump has no signal for a change of its state: tests look at it this often."""


@dataclass(slots=True, kw_only=True)
class RunningPump:
    """A pump and its task."""

    pump: Pump
    task: asyncio.Task[None]

    @property
    def status(self) -> PumpStatus:
        return self.pump.status()

    async def until_state(self, state: PumpState, *, wait_s: float = WAIT_S) -> PumpStatus:
        """Look until the pump is in a state. Raises TimeoutError."""
        async with asyncio.timeout(wait_s):
            while self.status.state is not state:
                await asyncio.sleep(LOOK_S)
        return self.status

    async def until_partitions(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.status.partitions != count:
                await asyncio.sleep(LOOK_S)

    async def until_settled(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.status.settled_total < count:
                await asyncio.sleep(LOOK_S)

    async def until_value(self, target: MemoryTarget, value: bytes) -> None:
        async with asyncio.timeout(WAIT_S):
            while value not in target.values:
                await asyncio.sleep(LOOK_S)

    async def kill(self) -> None:
        """End it as abruptly as a task can end: nothing is drained, nothing is settled."""
        self.task.cancel()
        await asyncio.wait({self.task})


@asynccontextmanager
async def kafka_pump(
    topic: KafkaTopic,
    target: Target,
    *,
    spec: FlowSpec | None = None,
    source: Source | None = None,
    letters: DeadLetters | None = None,
    limits: PumpLimits = QUICK_LIMITS,
    times: GroupTimes = QUICK_TIMES,
) -> AsyncIterator[RunningPump]:
    """A running pump from a topic; stopped in the end if the test did not end it."""
    pump = Pump(
        spec or topic.spec(),
        source=source or topic.source(times=times),
        target=target,
        dead_letters=letters or MemoryDeadLetters(),
        clock=SystemClock(),
        random=random.Random(7),
        limits=limits,
        history=KnownHistory(),
        fence=lambda: True,
        budget=WorkerBudget(),
    )
    running = RunningPump(pump=pump, task=asyncio.create_task(pump.run()))
    try:
        yield running
    finally:
        if not running.task.done():
            await pump.stop(grace_s=1)
            await running.task
        elif not running.task.cancelled():
            running.task.result()


def first_occurrences(runs: list[Run]) -> list[Run]:
    """The runs without their repeats."""
    firsts: dict[str, Run] = {}
    for run in runs:
        firsts.setdefault(run.request_id, run)
    return list(firsts.values())


def order_breaks(runs: list[Run]) -> int:
    """Among first occurrences: runs of a key that come after a later record of that key."""
    newest: dict[tuple[int, bytes | None], int] = {}
    breaks = 0
    for run in first_occurrences(runs):
        lane = (run.delivery.partition, run.delivery.key)
        breaks += run.delivery.offset < newest.get(lane, -1)
        newest[lane] = max(run.delivery.offset, newest.get(lane, -1))
    return breaks


class SteppingTarget(MemoryTarget):
    """Ends runs in small random steps, so that many are open at any moment."""

    async def invoke(self, run: Run) -> Outcome:
        await asyncio.sleep(random.uniform(0, 0.005))
        return await super().invoke(run)
