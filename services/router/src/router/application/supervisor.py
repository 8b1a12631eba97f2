"""Turns "what should run here" into running pumps, again and again.

What should run = every instance of an enabled flow that the catalog says is runnable ∩ the shards
this worker owns, up to its capacity. A change is looked at for the flows that it touches alone, and
only the keepers of those are told; the loop never waits for a keeper.

    catalog changed ──▶ flows touched ──┐
    shards gained ────▶ all enabled ────┼──▶ look at each ──▶ places ──▶ keepers
    shards lost ──────▶ those on them ──┘
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Protocol

from router.application import flow_keeper
from router.application.flow_keeper import FlowKeeper, OpenPump
from router.application.limits import DRAIN_S
from router.application.plans import BlockedFlow, Plan
from router.application.shards import ShardOwnership, shard_of
from router.domain.flow_spec import FlowSpec
from router.domain.places import Instance, Places
from router.domain.run_mode import Steering
from router.domain.spec_of_flow import instances
from router.domain.status import PumpState, PumpStatus
from router.ports import Clock, Random

CHECK_INTERVAL_S = 0.5
"""How often time is looked at: a membership can be lost without anybody telling."""
COALESCE_S = 0.02
"""Changes that come faster than this are looked at together."""
FLOWS_AT_ONCE_MAX = 128
"""Flows that are looked at before other tasks get their turn: about 5 ms."""
CAPACITY_MAX = 200
"""Flow instances of one worker: a consumer each, about 0.1 % of a core when idle (measured)."""
STOP_SLACK_S = 2 * flow_keeper.STOP_SLACK_S
"""On top of the grace time: a keeper gives its pump as much to stop, and again once cancelled."""

_log = logging.getLogger(__name__)


class Plans(Protocol):
    """What the registry wants, as far as this worker knows it; `FlowPlans` is one."""

    def enabled(self) -> tuple[str, ...]:
        """Ids of the enabled flows; none until the log was read up to its head once."""
        ...

    def instances(self, flow_id: str) -> int:
        """How many instances the flow wants; 0 for one that is not enabled."""
        ...

    def steering(self, flow_id: str) -> Steering:
        """Whether its owner paused the flow, and the last time that it was resumed."""
        ...

    def touched(self) -> frozenset[str]:
        """Flows of which something may have changed since the last call, all of them at first."""
        ...

    def follow(self, flow_id: str) -> Plan | None:
        """How the flow shall run, or why not; None for one that is not enabled. From now on
        `touched` names it when that may be something else."""
        ...

    def forget(self, flow_id: str) -> None:
        """The flow is not followed any more. Harmless twice."""
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
        grace_s: float = DRAIN_S,
    ) -> None:
        self._plans = plans
        self._ownership = ownership
        self._open_pump = open_pump
        self._clock = clock
        self._random = random
        self._grace_s = grace_s
        self._keepers: dict[Instance, FlowKeeper] = {}
        self._tasks: dict[Instance, asyncio.Task[None]] = {}
        self._ours: dict[str, frozenset[int]] = {}
        """Instances of each flow that shall run here if there is a place."""
        self._places: Places[FlowSpec] = Places(capacity_max=capacity_max)
        self._blocked: dict[str, BlockedFlow] = {}
        self._again: set[str] = set()
        """Flows to look at although no change touched them: a keeper of theirs ended."""
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
        self._wake.set()
        self._places.taken.clear()
        self._places.waiting.clear()
        for keeper in self._keepers.values():
            keeper.want(None)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=self._grace_s + STOP_SLACK_S)
        for instance, task in list(self._tasks.items()):
            _log.error("the flow did not stop in time", extra={"flow_id": instance.flow_id})
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=STOP_SLACK_S)

    def keepers(self) -> tuple[FlowKeeper, ...]:
        """Of everything that runs here, starts or drains."""
        return tuple(self._keepers.values())

    def statuses(self) -> tuple[PumpStatus, ...]:
        """The instances that this worker runs, starts, or drains, by flow id and number."""
        return tuple(self._keepers[instance].status() for instance in sorted(self._keepers))

    def blocked(self) -> tuple[BlockedFlow, ...]:
        """Flows of our shards that do not run: of the catalog's reasons, and over capacity."""
        reason = (
            f"capacity: this worker runs its {self._places.capacity_max} flow instances, and no "
            "other worker may take this one while its shard is here; add a worker, and shards move"
        )
        over = (
            BlockedFlow(flow_id=one.flow_id, instance=one.number, reason=reason)
            for one in sorted(self._places.waiting)
        )
        return (*self._blocked.values(), *over)

    def counts(self) -> dict[str, int]:
        """How many instances are in each state, by the state's word."""
        held_back = len(self._blocked) + len(self._places.waiting)
        return by_state((keeper.status() for keeper in self._keepers.values()), held_back)

    async def _follow(self) -> None:
        async for _ in self._plans.changes():
            self._wake.set()

    async def _keep(self) -> None:
        while not self._stopping:
            self._wake.clear()
            await self._reconcile()
            await self._until_touched()

    async def _until_touched(self) -> None:
        """Return when somebody woke us, or when time took the shards away or gave them back."""
        loop = asyncio.get_running_loop()
        looked_s = loop.time()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL_S):
                    await self._wake.wait()
            if self._wake.is_set() or self._ownership.owned != self._seen:
                await asyncio.sleep(max(0.0, looked_s + COALESCE_S - loop.time()))
                return

    async def _reconcile(self) -> None:
        """Look at what changed, and tell each keeper that it touches what is wanted now."""
        self._log_membership()
        owned = self._ownership.owned
        lost, gained = self._seen - owned, owned - self._seen
        self._seen = owned
        on_lost = (one for one in self._ours if lost and self._is_on(one, lost))
        touched, self._again = self._plans.touched() | self._again, set()
        everyone = self._plans.enabled() if gained else ()
        for number, flow_id in enumerate(dict.fromkeys((*on_lost, *everyone, *sorted(touched)))):
            if number % FLOWS_AT_ONCE_MAX == FLOWS_AT_ONCE_MAX - 1:
                await asyncio.sleep(0)
            if self._stopping:
                return
            self._look_at(flow_id, owned)
        for _, spec in self._places.fill():
            self._tell(spec)

    def _is_on(self, flow_id: str, shards: frozenset[int]) -> bool:
        return any(shard_of(flow_id, instance=one) in shards for one in self._ours[flow_id])

    def _look_at(self, flow_id: str, owned: frozenset[int]) -> None:
        """Find out what is wanted of one flow here, and pass it on. Never waits."""
        numbers = range(self._plans.instances(flow_id))
        here = [one for one in numbers if shard_of(flow_id, instance=one) in owned]
        plan = None
        if here:
            plan = self._plans.follow(flow_id)
        else:
            self._plans.forget(flow_id)
        self._blocked.pop(flow_id, None)
        wanted: frozenset[int] = frozenset()
        if isinstance(plan, FlowSpec):
            specs = [spec for spec in instances(plan) if spec.instance in here]
            wanted = frozenset(spec.instance for spec in specs)
            for spec in specs:
                self._want(spec)
        elif plan is not None:
            self._blocked[flow_id] = plan
        for number in self._ours.pop(flow_id, frozenset()) - wanted:
            self._let_go(Instance(flow_id, number))
        if wanted:
            self._ours[flow_id] = wanted

    def _want(self, spec: FlowSpec) -> None:
        instance = Instance(spec.flow_id, spec.instance)
        self._places.want(instance, spec)
        if instance in self._places.taken:
            self._tell(spec)

    def _let_go(self, instance: Instance) -> None:
        self._places.give_up(instance)
        keeper = self._keepers.get(instance)
        if keeper is not None:
            keeper.want(None)

    def _tell(self, spec: FlowSpec) -> None:
        """Let the instance, which has a place, run like this."""
        keeper = self._keepers.get(Instance(spec.flow_id, spec.instance))
        steering = self._plans.steering(spec.flow_id)
        if keeper is None or keeper.ended:
            self._start(spec, steering)
        else:
            keeper.want(spec, steering)

    def _log_membership(self) -> None:
        lost = self._ownership.lost
        if lost and not self._was_lost:
            _log.warning("membership is not confirmed any more: all flows stop until it is")
        self._was_lost = lost

    def _start(self, spec: FlowSpec, steering: Steering) -> None:
        keeper = FlowKeeper(
            spec,
            steering=steering,
            open_pump=self._open_pump,
            clock=self._clock,
            random=self._random,
            grace_s=self._grace_s,
        )
        instance = keeper.instance
        task = asyncio.create_task(keeper.run(), name=f"flow {spec.flow_id}/{spec.instance}")
        self._keepers[instance] = keeper
        self._tasks[instance] = task
        task.add_done_callback(lambda done: self._forget(keeper, done))

    def _forget(self, keeper: FlowKeeper, task: asyncio.Task[None]) -> None:
        instance = keeper.instance
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error(
                "a flow's keeper failed", exc_info=error, extra={"flow_id": instance.flow_id}
            )
        if self._tasks.get(instance) is task:
            del self._tasks[instance]
            del self._keepers[instance]
        if instance in self._places.taken:
            self._again.add(instance.flow_id)
            self._wake.set()


def by_state(statuses: Iterable[PumpStatus], held_back: int) -> dict[str, int]:
    """How many are in each state, by the state's word; those held back are blocked ones more."""
    counts = Counter(status.state.value for status in statuses)
    if held_back:
        counts[PumpState.BLOCKED.value] += held_back
    return dict(counts)
