"""The work of one assignment: its lanes, its low-water marks, its running calls.

Everything here dies with the epoch. A call that ends late can only touch the marks of its own
epoch, and those are settled under it or not at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from router.application.courier import Courier, Work
from router.application.limits import PumpLimits
from router.domain.completion_filter import takes
from router.domain.delivery import Delivery
from router.domain.flow_spec import FlowSpec
from router.domain.gate import Gate
from router.domain.lanes import LaneKey, Lanes, lane_of
from router.domain.low_water import LowWater, Mark
from router.ports import Clock, FlowHistory, Source

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Assignment:
    """Partitions that are ours under one epoch, and what is done with their records."""

    def __init__(
        self,
        marks: Mapping[int, Mark],
        *,
        epoch: int,
        spec: FlowSpec,
        source: Source,
        courier: Courier,
        clock: Clock,
        limits: PumpLimits,
        history: FlowHistory,
        may_invoke: Callable[[], bool],
        spawn: Spawn,
    ) -> None:
        self.epoch = epoch
        self._spec = spec
        self._source = source
        self._courier = courier
        self._clock = clock
        self._limits = limits
        self._history = history
        self._may_invoke = may_invoke
        self._spawn = spawn
        self._low_waters = {partition: LowWater(mark) for partition, mark in marks.items()}
        self._settled = dict(marks)
        self._settling = asyncio.Lock()
        self._lanes: Lanes[Work] = Lanes()
        self._ready: deque[LaneKey] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._sleepers: set[asyncio.Task[None]] = set()
        self._draining = False
        self._records_held = 0
        self._bytes_held = 0
        self._records_gate = Gate(limits.records_held_max)
        self._bytes_gate = Gate(limits.bytes_held_max)
        self._span_gates = {partition: Gate(limits.span_records_max) for partition in marks}
        self._paused: set[int] = set()

    @property
    def partitions(self) -> int:
        return len(self._low_waters)

    @property
    def in_flight(self) -> int:
        """Calls that run now."""
        return len(self._workers)

    @property
    def records_held(self) -> int:
        """Deliveries that are received and not done."""
        return self._records_held

    def positions(self) -> dict[int, int]:
        """The low-water mark of each partition."""
        return {partition: low.position for partition, low in self._low_waters.items()}

    def accept(self, delivery: Delivery) -> None:
        """Take a record in; one that is not for this flow, or was finished before, is done."""
        low_water = self._low_waters[delivery.partition]
        if not low_water.start(delivery.offset):
            return
        if not takes(self._spec.kind, self._history.changes(), delivery):
            low_water.finish(delivery.offset)
            return
        self._records_held += 1
        self._bytes_held += delivery.size_bytes
        lane = lane_of(delivery)
        if self._lanes.add(lane, Work(delivery=delivery)):
            self._ready.append(lane)

    def dispatch(self) -> None:
        """Start as many calls as there are free slots and heads that may run."""
        free = self._spec.concurrency_max - len(self._workers)
        if self._draining or not self._ready or free <= 0 or not self._may_invoke():
            return
        for _ in range(min(free, len(self._ready))):
            worker = self._spawn(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)  # for one cancelled before its start

    def regulate(self) -> None:
        """Pause and resume partitions by the limits of records, bytes and span (promise 5)."""
        all_shut = self._records_gate.is_shut(self._records_held)
        all_shut |= self._bytes_gate.is_shut(self._bytes_held)
        shut = {
            partition
            for partition, low_water in self._low_waters.items()
            if self._span_gates[partition].is_shut(low_water.span) or all_shut
        }
        if shut != self._paused:
            self._source.resume(self._paused - shut)
            self._source.pause(shut - self._paused)
            self._paused = shut

    async def settle(self) -> bool:
        """Settle the marks that changed; were there any? Raises what `Source.settle` raises."""
        async with self._settling:
            marks = {partition: low.mark() for partition, low in self._low_waters.items()}
            moved = {p: mark for p, mark in marks.items() if mark != self._settled[p]}
            if moved:
                await self._source.settle(moved, epoch=self.epoch)
                self._settled.update(moved)
            return bool(moved)

    async def drain(self, bound_s: float) -> None:
        """Start nothing more, wait for running calls, cancel what still runs after `bound_s`.

        What was not running goes undone; its records come again to the next owner.
        """
        self._draining = True
        self._ready.clear()
        for sleeper in tuple(self._sleepers):
            sleeper.cancel()
        timer = asyncio.create_task(self._clock.sleep(bound_s))
        try:
            while self._workers and not timer.done():
                running = {*self._workers, timer}
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            self.abandon()
        if self._workers:
            await asyncio.wait(set(self._workers))

    def abandon(self) -> None:
        """Cancel everything at once: the partitions are somebody else's."""
        self._draining = True
        self._ready.clear()
        for task in (*self._workers, *self._sleepers):
            task.cancel()

    async def _work(self) -> None:
        """Occupy one slot as long as there are heads that may run."""
        worker = asyncio.current_task()
        try:
            while self._ready and not self._draining and self._may_invoke():
                lane = self._ready.popleft()
                work = self._lanes.head(lane)
                delay_s = await self._courier.attempt(work)
                if delay_s is None:
                    self._finish(lane, work.delivery)
                else:
                    self._rest(lane, delay_s)
        finally:
            # In the same step, not in a done callback: whatever becomes ready a turn later must
            # find the slot free, else it waits for the next look.
            self._workers.discard(worker)

    def _finish(self, lane: LaneKey, delivery: Delivery) -> None:
        """The outcome is durable: let the next one of the lane come forward."""
        self._low_waters[delivery.partition].finish(delivery.offset)
        self._records_held -= 1
        self._bytes_held -= delivery.size_bytes
        if self._lanes.finish(lane) and not self._draining:
            self._ready.append(lane)
        if self._paused and not self._draining:
            self.regulate()

    def _rest(self, lane: LaneKey, delay_s: float) -> None:
        """Back off: the lane waits, its slot is free for others (promise 6)."""
        if self._draining:
            return
        sleeper = self._spawn(self._sleep(lane, delay_s))
        self._sleepers.add(sleeper)
        sleeper.add_done_callback(self._sleepers.discard)

    async def _sleep(self, lane: LaneKey, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        self._ready.append(lane)
        self.dispatch()
