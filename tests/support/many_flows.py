"""A worker's control half, for real, over as many flows as one likes; its pumps do nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from catalog.catalog import Catalog
from router.adapters.system_clock import SystemClock
from router.application.plans import FlowPlans
from router.application.shards import SHARDS, ShardOwnership
from router.application.supervisor import Supervisor
from router.domain.flow_spec import FlowSpec
from router.domain.run_mode import RunMode
from router.domain.status import PumpState, PumpStatus

from tests.support.event_log import EventLog

ALGORITHMS = 100
WAIT_MAX_S = 30.0


class FollowedLog:
    """A catalog that follows an `EventLog`, as `CatalogFollower` follows the registry's."""

    def __init__(self, log: EventLog) -> None:
        self.catalog = Catalog()
        self._log = log
        self._changed = asyncio.Event()
        self.catch_up()

    def catch_up(self) -> None:
        """Apply what the log has got since."""
        for recorded in self._log.recorded[self.catalog.position :]:
            self.catalog.apply(recorded)
        self._changed.set()

    async def changes(self) -> AsyncIterator[int]:
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield self.catalog.position


class IdlePump:
    """Does nothing until it is stopped, and remembers what it was told and when."""

    def __init__(self, spec: FlowSpec) -> None:
        self.spec = spec
        self.mode = RunMode.RUNNING
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        await self._stopped.wait()

    async def stop(self, *, grace_s: float) -> None:
        self._stopped.set()

    def steer(self, mode: RunMode, resumed_position: int) -> None:
        self.mode = mode

    def status(self) -> PumpStatus:
        return PumpStatus(
            flow_id=self.spec.flow_id,
            state=PumpState.RUNNING,
            reason="",
            since=SystemClock().now(),
            last_progress=None,
            lag_records=0,
            in_flight=0,
            settled_total=0,
            dead_lettered_total=0,
            retries_total=0,
            partitions=0,
        )


@dataclass(slots=True, kw_only=True)
class ManyFlows:
    """A supervisor that runs what it has places for."""

    log: EventLog
    feed: FollowedLog
    plans: FlowPlans
    supervisor: Supervisor
    ownership: ShardOwnership
    pumps: dict[str, IdlePump] = field(default_factory=dict)
    made: int = 0

    async def open_pump(self, spec: FlowSpec) -> IdlePump:
        self.made += 1
        pump = self.pumps[spec.flow_id] = IdlePump(spec)
        return pump

    async def until(self, condition: Callable[[], bool]) -> float:
        """Seconds until it holds."""
        began_s = time.perf_counter()
        async with asyncio.timeout(WAIT_MAX_S):
            while not condition():
                await asyncio.sleep(0.001)
        return time.perf_counter() - began_s

    async def change(self, change: Callable[[], object], condition: Callable[[], bool]) -> float:
        """Seconds from the moment at which the worker reads the change until it has acted."""
        change()
        self.feed.catch_up()
        return await self.until(condition)


def log_of_flows(flows: int) -> tuple[EventLog, list[str]]:
    """A log with so many enabled flows, each on a topic of its own, and their ids."""
    log = EventLog()
    log.account("acme")
    log.connection("cluster")
    for number in range(ALGORITHMS):
        log.algorithm(f"acme/a{number}", "1.0.0")
    flow_ids = [
        log.subscribe("cluster", f"topic-{number}", f"acme/a{number % ALGORITHMS}")
        for number in range(flows)
    ]
    return log, flow_ids


@asynccontextmanager
async def running_flows(log: EventLog) -> AsyncIterator[ManyFlows]:
    """A worker that owns all shards, once it runs what it has places for."""
    feed = FollowedLog(log)
    plans = FlowPlans(feed, group_prefix="eventflows", is_complete=lambda: True)
    clock = SystemClock()
    ownership = ShardOwnership(monotonic_s=lambda: 0.0)
    ownership.assign(range(SHARDS))
    supervisor = Supervisor(
        plans=plans,
        ownership=ownership,
        open_pump=lambda spec: many.open_pump(spec),
        clock=clock,
        random=random.Random(1),
    )
    many = ManyFlows(log=log, feed=feed, plans=plans, supervisor=supervisor, ownership=ownership)
    running = asyncio.create_task(supervisor.run())
    try:
        yield many
    finally:
        await supervisor.stop()
        running.cancel()
        await asyncio.wait({running})
