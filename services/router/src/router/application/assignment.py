"""The work of one assignment: its lanes, its low-water marks, its running calls.

Everything here dies with the epoch. A call that ends late can only touch the marks of its own
epoch, and those are settled under it or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from router.application.courier import Halt, Verdict
from router.application.flow_parts import FlowParts
from router.application.held import Held
from router.application.rests import Rests
from router.application.slots import Slots, Spawn
from router.application.unsettled import Unsettled
from router.application.work import NEVER, PartitionWork, Work
from router.domain.completion_filter import CompletionFilter
from router.domain.delivery import Delivery
from router.domain.low_water import Mark
from router.domain.run_mode import RunMode
from router.domain.turns import Turns


class Assignment:
    """Partitions that are ours under one epoch, and what is done with their records."""

    def __init__(
        self,
        marks: Mapping[int, Mark],
        *,
        epoch: int,
        parts: FlowParts,
        may_invoke: Callable[[], bool],
        settle_soon: Callable[[], None],
        spawn: Spawn,
    ) -> None:
        """`settle_soon` is called when so much is done that it is time for a settle."""
        spec = parts.spec
        self.epoch = epoch
        self.is_stale = False
        """Has the broker said that the partitions are somebody else's?"""
        self._filter = CompletionFilter(spec.kind)
        self._flow_id = spec.flow_id
        self._tracing = parts.tracing
        self._clock = parts.clock
        self._history = parts.history
        self._board = parts.board
        self._switch = parts.switch
        self._pace = parts.pace
        self._share = parts.share
        self._may_invoke = may_invoke
        self._partitions = {
            number: PartitionWork(
                number,
                mark,
                order=spec.order,
                limits=parts.limits,
                parts=len(marks),
                begun_max=parts.begun.get(number, NEVER),
            )
            for number, mark in marks.items()
        }
        self._turns: Turns[Work] = Turns()
        self._rests = Rests(
            pace=parts.pace, clock=parts.clock, random=parts.random, spawn=spawn, wake=self._wake
        )
        self._halted: list[Work] = []
        self.halted_reason = ""
        """Why the newest of the halted deliveries stands; empty: none does."""
        self._slots: Slots[Work, Verdict] = Slots(
            spec.concurrency_max,
            take=self._take,
            carry=parts.courier.attempt,
            done=self._done,
            share=parts.share,
            spawn=spawn,
        )
        self._ended = False
        self.unsettled = Unsettled(
            self._partitions.values(), epoch=epoch, parts=parts, settle_soon=settle_soon
        )
        self.held = Held(self._partitions.values(), parts)
        self.held.regulate()

    # What others may know -------------------------------------------------------------------------

    @property
    def partitions(self) -> int:
        return len(self._partitions)

    @property
    def in_flight(self) -> int:
        """Calls that run now."""
        return self._slots.busy

    @property
    def halted_keys(self) -> int:
        """Deliveries that stand until a resume, each with what is behind it in its lane."""
        return len(self._halted)

    @property
    def resting(self) -> int:
        """Deliveries that wait for their next attempt."""
        return len(self._rests)

    @property
    def ready(self) -> int:
        """Deliveries that may begin an attempt as soon as one of the flow's calls is free."""
        may_start = self._switch.may_start and self._pace.calls_max and not self._share.is_waiting
        return self._turns.count if may_start else 0

    @property
    def stands_still(self) -> bool:
        """Will nothing happen any more as the switch stands?"""
        if self._slots.busy:
            return False
        if self._switch.mode is RunMode.DRAINED and self._switch.may_start:
            return not self._turns.count and not self._rests
        return not self._switch.may_start

    def positions(self) -> dict[int, int]:
        """The low-water mark of each partition."""
        return {number: each.low_water.position for number, each in self._partitions.items()}

    def passed(self, offsets: Mapping[int, int]) -> None:
        """From `positions` up to these offsets there is no record: the marks go along, so that a
        topic at rest is settled to its end."""
        for number, offset in offsets.items():
            self._partitions[number].low_water.pass_to(offset)

    def begun(self) -> dict[int, int]:
        """The highest offset that was begun, by partition."""
        return {number: each.begun_max for number, each in self._partitions.items()}

    def oldest_unsettled_s(self) -> float:
        """For how long the oldest delivery that is not done has been held; 0 without one."""
        times = [at for each in self._partitions.values() if (at := each.oldest_s()) is not None]
        return self._clock.monotonic_s() - min(times) if times else 0.0

    # Coming in ------------------------------------------------------------------------------------

    def accept(self, deliveries: Sequence[Delivery]) -> None:
        """Take records in, and pause what is at a limit. One that is not for this flow, or was
        finished before, is done."""
        if self._ended:
            return
        self._board.received_total += len(deliveries)
        now_s = self._clock.monotonic_s()
        takes, changes = self._filter.takes, self._history.changes()
        held, tracing = self.held, self._tracing
        partition: PartitionWork | None = None
        for delivery in deliveries:
            if delivery.epoch != self.epoch:
                continue
            if partition is None or partition.number != delivery.partition:
                partition = self._partitions[delivery.partition]
                partition.note_receipt(now_s)
                held.grown.add(partition)
            offset = delivery.offset
            place = partition.low_water.start(offset)
            if place is None:
                continue
            if not takes(changes, delivery):
                partition.low_water.finish(place)
                continue
            if offset < partition.repeats_below:
                self._board.repeats_total += 1
            work = Work(delivery, partition, place)
            if tracing is not None:
                work.trace = tracing.receive(delivery, flow_id=self._flow_id)
            partition.records_held += 1
            partition.bytes_held += work.held_bytes
            held.records += 1
            held.bytes += work.held_bytes
            if partition.lanes.add(work, delivery.key):
                self._turns.add(partition.ready, place, work)
        held.regulate()

    # Going out ------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Start as many calls as there are free slots and heads that may run."""
        if self._turns.count and not self._ended and self._switch.may_start and self._may_invoke():
            pace, busy = self._pace, self._slots.busy
            if pace.is_alert:
                pace.may_probe(calls_open=busy, now_s=self._clock.monotonic_s())
            self._slots.start(min(self._turns.count, int(pace.calls_max) - busy))

    def steered(self, *, retry_halted: bool) -> None:
        """The switch was set anew."""
        if self._ended:
            return
        if retry_halted:
            halted, self._halted, self.halted_reason = self._halted, [], ""
            for work in halted:
                work.trial = None
                self._turns.add(work.partition.ready, work.place, work)
        self.held.regulate()
        self.dispatch()

    # Ending ---------------------------------------------------------------------------------------

    async def drain(self, bound_s: float) -> None:
        """Start nothing more, wait for running calls, cancel what still runs after `bound_s`.

        What was not running goes undone; its records come again to the next owner.
        """
        self._end()
        self._slots.close()
        timer = asyncio.create_task(self._clock.sleep(bound_s))
        try:
            await self._slots.until_ended(timer)
        finally:
            timer.cancel()
            self._slots.cancel()
        await self._slots.until_ended()

    def abandon(self) -> None:
        """Cancel everything at once: the partitions are somebody else's."""
        self._end()
        self._slots.cancel()

    def _end(self) -> None:
        if self._ended:
            return  # the share may be another assignment's by now
        self._ended = True
        self._turns.clear()
        self._rests.end()
        self._share.hold(0)
        self._share.want_no_more()

    # One delivery ---------------------------------------------------------------------------------

    def _take(self) -> Work | None:
        """The next head that may run, for the slot that asks."""
        if not (self._turns.count and self._switch.may_start and self._may_invoke()):
            return None
        if self._pace.is_alert and self._slots.busy > self._pace.calls_max:
            return None
        work = self._turns.take()
        partition, offset = work.partition, work.delivery.offset
        if offset > partition.begun_max:
            partition.begun_max = offset
        return work

    def _done(self, work: Work, verdict: Verdict) -> None:
        """What an attempt came to: finished, or to wait for a time or for a person."""
        if verdict is None:
            self._finish(work)
            if self._pace.is_alert or work.trial is not None:  # it may be a letter now
                self._rests.tell_pace(work, verdict, calls_open=self._slots.busy)
                self.dispatch()
            return
        self._rests.tell_pace(work, verdict, calls_open=self._slots.busy)
        if isinstance(verdict, Halt) and verdict.whole_flow:
            self._switch.halt(verdict.reason, noted=verdict.noted)  # it outlives the assignment
        if self._ended:
            return
        if isinstance(verdict, Halt):
            self._halted.append(work)
            self.halted_reason = verdict.reason
            if verdict.whole_flow:
                self.held.regulate()
        else:
            self._rests.add(work, verdict.delay_s)

    def _finish(self, work: Work) -> None:
        """The outcome is durable: let the next one of the lane come forward."""
        partition = work.partition
        partition.low_water.finish(work.place)
        partition.records_held -= 1
        partition.bytes_held -= work.held_bytes
        held, unsettled = self.held, self.unsettled
        held.records -= 1
        held.bytes -= work.held_bytes
        if work.trace is not None:
            work.trace.done()
            unsettled.traced.append(work.trace)
        follower = partition.lanes.finish(work)
        unsettled.records += 1
        if self._ended:
            return
        if unsettled.records == unsettled.records_max:
            unsettled.settle_soon()
        if follower is not None:
            self._turns.add(partition.ready, follower.place, follower)
        if held.records <= held.look_at:
            held.regulate()

    def _wake(self, works: Sequence[Work]) -> None:
        for work in works:
            self._turns.add(work.partition.ready, work.place, work)
        self.dispatch()
