"""Turns "what should run here" into running pumps, again and again.

What should run = every enabled flow that the catalog says is runnable ∩ the shards this worker
owns, up to its capacity. The loop compares that with what is wanted of each flow's keeper and tells
only the keepers whose flow it touches; it never waits for one. The price: the whole desired set is
derived anew at each change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol

from router.application.flow_keeper import FlowKeeper, OpenPump
from router.application.plans import BlockedFlow, Plan
from router.application.shards import ShardOwnership, shard_of
from router.domain.flow_spec import FlowSpec
from router.domain.status import PumpState, PumpStatus
from router.ports import Clock, Random

CHECK_INTERVAL_S = 0.5
"""How often time is looked at: a membership can be lost without anybody telling."""
CAPACITY_MAX = 200
"""Flow instances of one worker: a consumer each, about 0.1 % of a core when idle (measured)."""
DRAIN_GRACE_S = 5.0
STOP_SLACK_S = 8.0

_log = logging.getLogger(__name__)


class Plans(Protocol):
    """What the registry wants, as far as this worker knows it; `FlowPlans` is one."""

    def enabled(self) -> tuple[str, ...]:
        """Ids of the enabled flows; none until the log was read up to its head once."""
        ...

    def plan(self, flow_id: str) -> Plan | None:
        """How the flow shall run, or why not; None for one that is not enabled."""
        ...

    def changes(self) -> AsyncIterator[int]:
        """Yields after each change of the catalog, coalesced; never ends."""
        ...


class Supervisor:
    """The flows of this worker. All methods are for the event loop's thread."""

    def __init__(
        self,
        *,
        plans: Plans,
        ownership: ShardOwnership,
        open_pump: OpenPump,
        clock: Clock,
        random: Random,
        capacity_max: int = CAPACITY_MAX,
        grace_s: float = DRAIN_GRACE_S,
    ) -> None:
        self._plans = plans
        self._ownership = ownership
        self._open_pump = open_pump
        self._clock = clock
        self._random = random
        self._capacity_max = capacity_max
        self._grace_s = grace_s
        self._keepers: dict[str, FlowKeeper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._over_capacity: tuple[BlockedFlow, ...] = ()
        self._blocked: tuple[BlockedFlow, ...] = ()
        self._wake = asyncio.Event()
        self._stopping = False
        self._was_lost = False
        self._seen: frozenset[int] = frozenset()
        ownership.on_change(self._wake.set)

    async def run(self) -> None:
        """Keep the flows right until cancelled. Raises what the plans raise."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="supervisor follows the catalog")
            group.create_task(self._keep(), name="supervisor keeps the flows")

    async def stop(self) -> None:
        """Drain and end every flow, within the grace time and a little. Harmless twice."""
        self._stopping = True
        self._reconcile()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=self._grace_s + STOP_SLACK_S)
        for flow_id, task in list(self._tasks.items()):
            _log.error("the flow did not stop in time", extra={"flow_id": flow_id})
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=STOP_SLACK_S)

    def statuses(self) -> tuple[PumpStatus, ...]:
        """The flows that this worker runs, starts, or drains, by flow id."""
        return tuple(self._keepers[flow_id].status() for flow_id in sorted(self._keepers))

    def blocked(self) -> tuple[BlockedFlow, ...]:
        """Flows of our shards that do not run: of the catalog's reasons, and over capacity."""
        return self._blocked + self._over_capacity

    async def _follow(self) -> None:
        async for _ in self._plans.changes():
            self._wake.set()

    async def _keep(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self._reconcile()
            await self._until_touched()

    async def _until_touched(self) -> None:
        """Return when somebody woke us, or when time took the shards away or gave them back."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL_S):
                    await self._wake.wait()
            if self._wake.is_set() or self._ownership.owned != self._seen:
                return

    def _reconcile(self) -> None:
        """Tell each keeper what is wanted now. Never waits."""
        desired = {} if self._stopping else self._desired()
        for flow_id, keeper in self._keepers.items():
            if flow_id not in desired:
                keeper.want(None)
        for flow_id, spec in desired.items():
            known = self._keepers.get(flow_id)
            if known is None or known.ended:
                self._start(spec)
            else:
                known.want(spec)

    def _desired(self) -> dict[str, FlowSpec]:
        """What shall run here, and as a side effect what is blocked and why."""
        self._log_membership()
        owned = self._seen = self._ownership.owned
        ours = [flow_id for flow_id in self._plans.enabled() if shard_of(flow_id) in owned]
        plans = [self._plans.plan(flow_id) for flow_id in ours]
        self._blocked = tuple(plan for plan in plans if isinstance(plan, BlockedFlow))
        runnable = {plan.flow_id: plan for plan in plans if isinstance(plan, FlowSpec)}
        # Flows that run stay: who came first keeps the place.
        in_order = sorted(runnable, key=lambda flow_id: (flow_id not in self._keepers, flow_id))
        self._over_capacity = tuple(
            BlockedFlow(
                flow_id=flow_id,
                reason=f"capacity: this worker runs its {self._capacity_max} flows; add a worker",
            )
            for flow_id in in_order[self._capacity_max :]
        )
        return {flow_id: runnable[flow_id] for flow_id in in_order[: self._capacity_max]}

    def _log_membership(self) -> None:
        lost = self._ownership.lost
        if lost and not self._was_lost:
            _log.warning("membership is not confirmed any more: all flows stop until it is")
        self._was_lost = lost

    def _start(self, spec: FlowSpec) -> None:
        keeper = FlowKeeper(
            spec,
            open_pump=self._open_pump,
            clock=self._clock,
            random=self._random,
            grace_s=self._grace_s,
        )
        task = asyncio.create_task(keeper.run(), name=f"flow {spec.flow_id}")
        self._keepers[spec.flow_id] = keeper
        self._tasks[spec.flow_id] = task
        task.add_done_callback(lambda done: self._forget(keeper, done))

    def _forget(self, keeper: FlowKeeper, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a flow's keeper failed", exc_info=error, extra={"flow_id": keeper.flow_id})
        if self._tasks.get(keeper.flow_id) is task:
            del self._tasks[keeper.flow_id]
            del self._keepers[keeper.flow_id]
        self._wake.set()


def by_state(statuses: tuple[PumpStatus, ...], blocked: tuple[BlockedFlow, ...]) -> dict[str, int]:
    """How many flows are in each state, by the state's word."""
    counts: dict[str, int] = {}
    for status in statuses:
        counts[status.state.value] = counts.get(status.state.value, 0) + 1
    if blocked:
        state = PumpState.BLOCKED.value
        counts[state] = counts.get(state, 0) + len(blocked)
    return counts
