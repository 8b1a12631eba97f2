"""A pump on adapters in memory and a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from router.adapters.memory_broker import MemoryBroker
from router.adapters.memory_dead_letters import MemoryDeadLetters
from router.adapters.memory_source import MemorySource
from router.adapters.memory_target import MemoryTarget
from router.application.budget import WorkerBudget
from router.application.flow_halts import FlowHalts
from router.application.limits import PumpLimits
from router.application.pump import Pump
from router.application.served import Served
from router.domain.flow_spec import FlowSpec
from router.domain.outcome import OutcomeKind, failed
from router.domain.run_mode import RunMode
from router.domain.status import PumpState
from router.ports import DeadLetters, FlowHistory, Tracing

from tests.support.manual_clock import ManualClock, until
from tests.support.router_flows import SUBSCRIBER, KnownHistory

TEST_LIMITS = PumpLimits(receive_wait_s=0.02)
UNREACHABLE = failed(OutcomeKind.UNREACHABLE, "the runner is away")
BROKEN = failed(OutcomeKind.ALGORITHM_ERROR, "bad input", error_type="InputError")


class HighestJitter:
    """A random source without chance: every wait is as long as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


@dataclass(slots=True, kw_only=True)
class Bench:
    """A pump with everything around it in reach."""

    broker: MemoryBroker
    source: MemorySource
    target: MemoryTarget
    letters: MemoryDeadLetters
    clock: ManualClock
    pump: Pump
    running: asyncio.Task[None]
    fence_open: bool = True

    async def until_state(self, state: PumpState) -> None:
        await until(lambda: self.pump.status().state is state)

    async def until_committed(self, position: int, *, partition: int = 0) -> None:
        await self.clock.run_until(lambda: self.broker.committed.get(partition) == position)

    async def until_settled(self, count: int) -> None:
        await until(lambda: self.pump.status().settled_total == count)


@asynccontextmanager
async def running_pump(
    spec: FlowSpec = SUBSCRIBER,
    *,
    broker: MemoryBroker | None = None,
    limits: PumpLimits = TEST_LIMITS,
    history: FlowHistory | None = None,
    budget: WorkerBudget | None = None,
    mode: RunMode = RunMode.RUNNING,
    tracing: Tracing | None = None,
    dead_letters: DeadLetters | None = None,
    halts: FlowHalts | None = None,
    served: Served | None = None,
    prepare: Callable[[Bench], None] = lambda bench: None,
) -> AsyncIterator[Bench]:
    """Run a pump; cancel it in the end if the test did not stop it.

    Its letters go to `Bench.letters`, unless `dead_letters` are given.
    """
    broker = broker or MemoryBroker()
    source, target, letters = MemorySource(broker), MemoryTarget(), MemoryDeadLetters()
    clock = ManualClock()
    pump = Pump(
        spec,
        source=source,
        target=target,
        dead_letters=dead_letters or letters,
        clock=clock,
        random=HighestJitter(),
        limits=limits,
        history=history or KnownHistory(),
        fence=lambda: bench.fence_open,
        budget=budget or WorkerBudget(),
        mode=mode,
        tracing=tracing,
        halts=halts,
        served=served,
    )
    bench = Bench(
        broker=broker,
        source=source,
        target=target,
        letters=letters,
        clock=clock,
        pump=pump,
        running=asyncio.ensure_future(asyncio.sleep(0)),
    )
    prepare(bench)
    bench.running = asyncio.create_task(pump.run())
    try:
        yield bench
    finally:
        bench.running.cancel()
        await asyncio.wait({bench.running})
    if not bench.running.cancelled():
        bench.running.result()


class Joiner:
    """A second reader that only joins."""

    def __init__(self) -> None:
        self.partitions: frozenset[int] = frozenset()

    def on_assigned(
        self, marks: Mapping[int, object], *, epoch: int, unreadable: int = 0, expired: int = 0
    ) -> None:
        self.partitions = frozenset(marks)

    async def on_revoked(self) -> None:
        pass


def is_waited_for(bench: Bench, wait_s: float) -> bool:
    """Does anything sleep for exactly that long from now?"""
    return wait_s in [round(each, 3) for each in bench.clock.waits()]
