"""A supervisor on pumps that do as they are told, scripted plans, a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from kernel.errors import EventflowsError
from router.application.plans import Plan
from router.application.shards import SHARDS, ShardOwnership
from router.application.supervisor import CAPACITY_MAX, Supervisor
from router.domain.flow_spec import FlowSpec
from router.domain.places import Instance
from router.domain.run_mode import RunMode, Steering
from router.domain.status import PumpState, PumpStatus

from tests.support.manual_clock import ManualClock, until
from tests.support.router_flows import SUBSCRIBER
from tests.support.router_pumps import HighestJitter

GRACE_S = 0.05


def spec(flow_id: str, **fields: object) -> FlowSpec:
    """A flow that may run."""
    return replace(SUBSCRIBER, flow_id=flow_id, **fields)  # type: ignore[arg-type]


class ToldPump:
    """Runs until it is stopped, or until the test ends it with `finish` or an error."""

    def __init__(self, flow: FlowSpec, clock: ManualClock, *, lags: Mapping[str, int]) -> None:
        self.spec = flow
        self.state = PumpState.RUNNING
        self.stops = 0
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.may_end = asyncio.Event()
        """Tests clear it: the pump does not end although it is cancelled."""
        self.may_end.set()
        self.cancelled = False
        self.steered: list[tuple[RunMode, int]] = []
        self.progress = 0
        self._lags = lags
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._clock = clock

    async def run(self) -> None:
        try:
            await self._end
        except asyncio.CancelledError:
            self.cancelled = True
            while not self.may_end.is_set():
                with suppress(asyncio.CancelledError):
                    await self.may_end.wait()
            raise

    async def stop(self, *, grace_s: float) -> None:
        self.stops += 1
        self.state = PumpState.DRAINING
        await self.may_stop.wait()
        self.finish()

    def steer(self, mode: RunMode, resumed_position: int) -> None:
        self.steered.append((mode, resumed_position))
        if mode is not RunMode.RUNNING:
            self.state = PumpState.PAUSED

    def finish(self, error: Exception | None = None) -> None:
        """End `run`, with an error or without."""
        if self._end.done():
            return
        if error is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(error)

    @property
    def ended(self) -> bool:
        return self._end.done()

    def status(self) -> PumpStatus:
        return PumpStatus(
            flow_id=self.spec.flow_id,
            instance=self.spec.instance,
            progress_total=self.progress,
            state=self.state,
            reason="",
            since=self._clock.now(),
            last_progress=None,
            lag_records=self._lags.get(self.spec.flow_id, 0),
            in_flight=0,
            settled_total=0,
            dead_lettered_total=0,
            retries_total=0,
            partitions=1,
        )


@dataclass(slots=True)
class ScriptedPlans:
    """Plans that a test sets."""

    wanted: dict[str, Plan] = field(default_factory=dict)
    steered: dict[str, Steering] = field(default_factory=dict)
    position: int = 0
    followed: list[str] = field(default_factory=list)
    _touched: dict[str, None] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, *plans: Plan) -> None:
        """From now on exactly these are enabled."""
        before, self.wanted = self.wanted, {plan.flow_id: plan for plan in plans}
        self._tell(
            flow_id
            for flow_id in before.keys() | self.wanted.keys()
            if before.get(flow_id) != self.wanted.get(flow_id)
        )

    def steer(self, flow_id: str, steering: Steering) -> None:
        """Its owner paused or resumed the flow."""
        self.steered[flow_id] = steering
        self._tell((flow_id,))

    def _tell(self, flow_ids: Iterable[str]) -> None:
        self._touched.update(dict.fromkeys(flow_ids))
        self.position += 1
        self._changed.set()

    def enabled(self) -> tuple[str, ...]:
        return tuple(self.wanted)

    def instances(self, flow_id: str) -> int:
        plan = self.wanted.get(flow_id)
        return plan.parallelism if isinstance(plan, FlowSpec) else int(plan is not None)

    def steering(self, flow_id: str) -> Steering:
        return self.steered.get(flow_id, Steering())

    def touched(self) -> frozenset[str]:
        touched, self._touched = self._touched, {}
        return frozenset(touched)

    def follow(self, flow_id: str) -> Plan | None:
        self.followed.append(flow_id)
        return self.wanted.get(flow_id)

    def forget(self, flow_id: str) -> None:
        pass

    async def changes(self) -> AsyncIterator[int]:
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield self.position


@dataclass(slots=True, kw_only=True)
class Stage:
    """The supervisor with everything around it in reach."""

    clock: ManualClock
    plans: ScriptedPlans
    ownership: ShardOwnership
    supervisor: Supervisor
    pumps: dict[str, list[ToldPump]] = field(default_factory=dict)
    refusals: dict[str, EventflowsError] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    lags: dict[str, int] = field(default_factory=dict)
    """Records that wait in the source of a flow, whichever pump reads it."""

    async def open_pump(self, flow: FlowSpec) -> ToldPump:
        if flow.flow_id in self.hanging:
            await asyncio.Event().wait()
        if flow.flow_id in self.refusals:
            raise self.refusals[flow.flow_id]
        pump = ToldPump(flow, self.clock, lags=self.lags)
        self.pumps.setdefault(flow.flow_id, []).append(pump)
        return pump

    def running(self) -> dict[str, PumpState]:
        """State of each flow that the supervisor speaks of."""
        return {status.flow_id: status.state for status in self.supervisor.statuses()}

    async def until_running(self, *flow_ids: str) -> None:
        """Wait until exactly these flows run."""
        await until(lambda: self.running() == dict.fromkeys(flow_ids, PumpState.RUNNING))

    async def until_stopped(self) -> None:
        """Wait until no flow is left."""
        await until(lambda: not self.running())

    def newest(self, flow_id: str) -> ToldPump:
        """The pump that was made last."""
        return self.pumps[flow_id][-1]

    def instances(self) -> dict[Instance, PumpState]:
        """State of each instance that the supervisor speaks of."""
        return {
            Instance(status.flow_id, status.instance): status.state
            for status in self.supervisor.statuses()
        }


@asynccontextmanager
async def running_supervisor(*, capacity_max: int = CAPACITY_MAX) -> AsyncIterator[Stage]:
    """A supervisor that owns all shards."""
    clock, plans = ManualClock(), ScriptedPlans()
    ownership = ShardOwnership(monotonic_s=clock.monotonic_s)
    ownership.assign(range(SHARDS))
    supervisor = Supervisor(
        plans=plans,
        ownership=ownership,
        open_pump=lambda flow: stage.open_pump(flow),
        clock=clock,
        random=HighestJitter(),
        capacity_max=capacity_max,
        grace_s=GRACE_S,
    )
    stage = Stage(clock=clock, plans=plans, ownership=ownership, supervisor=supervisor)
    running = asyncio.create_task(supervisor.run())
    try:
        yield stage
    finally:
        for pumps in stage.pumps.values():
            for pump in pumps:
                pump.may_stop.set()
                pump.may_end.set()
        await supervisor.stop()
        running.cancel()
        await asyncio.wait({running})
    if not running.cancelled():
        running.result()
