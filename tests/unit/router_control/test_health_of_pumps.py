"""What the watch makes of real pumps in trouble: it leaves alone what has its reasons."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from catalog.events import GiveUp
from router.adapters.memory_broker import MemoryBroker
from router.adapters.memory_dead_letters import MemoryDeadLetters
from router.adapters.memory_restarts import MemoryRestarts
from router.adapters.memory_source import MemorySource
from router.adapters.memory_target import MemoryTarget
from router.application.budget import WorkerBudget
from router.application.flow_keeper import FlowKeeper
from router.application.health import HealthWatch
from router.application.limits import PumpLimits
from router.application.openings import AT_ONCE_EACH_MAX, Openings
from router.application.pump import Pump
from router.application.status_board import QUEUED
from router.domain.flow_spec import FlowSpec
from router.domain.outcome import OutcomeKind
from router.domain.retry_policy import RetryPolicy, RetryRule
from router.domain.run_mode import Steering
from router.domain.status import PumpState, PumpStatus
from router.domain.watchdog import LOOK_MAX_S, STALL_MAX_S, WORKER_UPTIME_MIN_S

from tests.support.manual_clock import ManualClock, let_others_run, until
from tests.support.router_flows import SUBSCRIBER, KnownHistory
from tests.support.router_pumps import BROKEN, UNREACHABLE, HighestJitter

OPEN_S = 20.0
"""How long a source waits for a cluster that does not answer."""
DEAD, WELL = 60, 10
HOUR_S = 3600.0
ID = SUBSCRIBER.flow_id
ILL_TREATED = replace(
    SUBSCRIBER,
    retries=RetryPolicy(
        rules=(
            RetryRule(failure=OutcomeKind.ALGORITHM_ERROR, give_up=GiveUp.HALT_KEY),
            RetryRule(failure=OutcomeKind.UNREACHABLE, delay_first_s=HOUR_S),
        )
    ),
)
LIMITS = PumpLimits(look_interval_s=LOOK_MAX_S, commit_interval_s=60, lag_interval_s=6)


@dataclass(slots=True, kw_only=True)
class Worker:
    """Pumps in memory, kept and watched as in a worker."""

    clock: ManualClock = field(default_factory=ManualClock)
    openings: Openings = field(default_factory=Openings)
    budget: WorkerBudget = field(default_factory=WorkerBudget)
    brokers: dict[str, MemoryBroker] = field(default_factory=dict)
    sources: dict[str, MemorySource] = field(default_factory=dict)
    """The newest one of each flow."""
    target: MemoryTarget = field(default_factory=MemoryTarget)
    limits: PumpLimits = LIMITS
    kept: list[FlowKeeper] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    watching: asyncio.Task[None] | None = None
    unhealthy: set[str] = field(default_factory=set)
    """Flows that were, at any time."""

    def run(self, spec: FlowSpec, broker: MemoryBroker) -> None:
        self.brokers[spec.flow_id] = broker
        keeper = FlowKeeper(
            spec,
            steering=Steering(),
            open_pump=self._open_pump,
            clock=self.clock,
            random=HighestJitter(),
            grace_s=1.0,
        )
        self.kept.append(keeper)
        self.tasks.append(asyncio.create_task(keeper.run()))

    async def run_with(self, ill: bytes) -> None:
        """Run one flow, with a record of which an attempt has failed."""
        self.target.answers[b"halts"].extend([BROKEN] * 2)
        self.target.answers[b"rests"].extend([UNREACHABLE] * 2)
        self.broker.append(ill, key=b"ill")
        self.run(ILL_TREATED, self.broker)
        await until(lambda: self.target.runs)

    @property
    def broker(self) -> MemoryBroker:
        """Of the one flow."""
        return self.brokers.setdefault(ID, MemoryBroker())

    def keepers(self) -> list[FlowKeeper]:
        return self.kept

    def statuses(self) -> list[PumpStatus]:
        return [keeper.status() for keeper in self.kept]

    def told(self) -> Counter[tuple[PumpState, str]]:
        """How many flows say so of themselves."""
        return Counter((each.state, each.reason) for each in self.statuses())

    async def wait(self, seconds: float, *, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Let time go by until then, or until the watch ends the worker."""
        for _ in range(round(seconds / LOOK_MAX_S)):
            meanwhile()
            self.clock.advance(LOOK_MAX_S)
            await let_others_run(20)
            self.unhealthy |= {each.flow_id for each in self.statuses() if not each.healthy}
            if self.watching is not None and self.watching.done():
                self.watching.result()

    async def _open_pump(self, spec: FlowSpec) -> Pump:
        source = self.sources[spec.flow_id] = MemorySource(self.brokers[spec.flow_id])
        return Pump(
            spec,
            source=source,
            target=self.target,
            dead_letters=MemoryDeadLetters(),
            clock=self.clock,
            random=HighestJitter(),
            limits=self.limits,
            history=KnownHistory(),
            fence=lambda: True,
            budget=self.budget,
            openings=self.openings,
        )


@asynccontextmanager
async def watched_worker() -> AsyncIterator[Worker]:
    worker = Worker()
    health = HealthWatch(worker, clock=worker.clock, memory=MemoryRestarts())
    worker.watching = asyncio.create_task(health.run())
    try:
        yield worker
    finally:
        for task in (worker.watching, *worker.tasks):
            task.cancel()
        await asyncio.wait([worker.watching, *worker.tasks])


def flow(flow_id: str, *, connection_id: str) -> FlowSpec:
    source = replace(SUBSCRIBER.source, connection_id=connection_id)
    return replace(SUBSCRIBER, flow_id=flow_id, source=source)


async def test_flows_of_a_cluster_that_does_not_answer_are_no_reason_to_end_the_worker() -> None:
    async with watched_worker() as worker:
        dead, well = MemoryBroker(), MemoryBroker()
        dead.silence = lambda: worker.clock.sleep(OPEN_S)
        for number in range(DEAD):
            worker.run(flow(f"dead {number}", connection_id="dead"), dead)
        for number in range(WELL):
            worker.run(flow(f"well {number}", connection_id="well"), well)
        await worker.wait(LOOK_MAX_S)
        first = {
            (PumpState.STARTING, ""): AT_ONCE_EACH_MAX,
            (PumpState.STARTING, QUEUED): DEAD - AT_ONCE_EACH_MAX,
            (PumpState.RUNNING, ""): WELL,
        }
        await until(lambda: worker.told() == first)
        await worker.wait(2 * WORKER_UPTIME_MIN_S)
        assert worker.told() == {
            (PumpState.BACKING_OFF, "the broker does not answer"): DEAD,
            (PumpState.RUNNING, ""): WELL,
        }
        assert not worker.unhealthy
        assert not any(each.source_restarts_total for each in worker.statuses())


@pytest.mark.parametrize("ill", [b"halts", b"rests"])
async def test_a_source_that_hands_out_nothing_is_found_beside_a_delivery_that_waits(
    ill: bytes,
) -> None:
    async with watched_worker() as worker:
        await worker.run_with(ill)
        worker.sources[ID].hung = True
        worker.broker.append(b"beside", key=b"well")
        await worker.wait(STALL_MAX_S)
        assert not worker.unhealthy
        await worker.wait(LIMITS.lag_interval_s + LOOK_MAX_S)
        assert worker.unhealthy == {ID}
        assert worker.target.values == [ill, ill, b"beside"], "another source reads on"


@pytest.mark.parametrize("ill", [b"halts", b"rests"])
async def test_records_behind_a_delivery_that_waits_are_no_stall(ill: bytes) -> None:
    async with watched_worker() as worker:
        await worker.run_with(ill)
        for _ in range(100):
            await worker.wait(
                3 * LOOK_MAX_S, meanwhile=lambda: worker.broker.append(b"behind", key=b"ill")
            )
        assert worker.target.values == [ill]
        assert not worker.unhealthy


@pytest.mark.parametrize("ill", [b"halts", b"rests"])
async def test_the_span_limit_behind_a_delivery_that_waits_is_no_stall(ill: bytes) -> None:
    async with watched_worker() as worker:
        worker.limits = replace(LIMITS, span_records_max=5, receive_records_max=1)
        await worker.run_with(ill)
        for number in range(20):
            worker.broker.append(b"%d" % number, key=b"well")
        await worker.wait(900)
        assert worker.target.values == [ill, b"0", b"1", b"2", b"3"]
        assert not worker.unhealthy


async def test_a_delivery_rests_as_long_as_the_flows_own_rules_let_it() -> None:
    async with watched_worker() as worker:
        await worker.run_with(b"rests")
        await worker.wait(HOUR_S - LOOK_MAX_S)
        assert len(worker.target.runs) == 1
        assert not worker.unhealthy
        await worker.wait(2 * LOOK_MAX_S)
        assert [run.attempt for run in worker.target.runs] == [1, 2]
