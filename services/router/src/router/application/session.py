"""One life of a flow's source, from open to close: receive, look, settle, measure, retire.

Its assignments come and go with the group's rebalances. Trouble with the source ends it; the pump
begins the next one, and what was not settled comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from catalog.events import FlowKind
from kernel.errors import EventflowsError, Unavailable

from router.application.assignment import Assignment
from router.application.flow_parts import FlowParts
from router.application.limits import LAG_LOOK_S
from router.application.settles import Settles
from router.application.status_board import Trouble
from router.application.until_stop import until_stop
from router.domain.completion_filter import newest_position
from router.domain.delivery import Delivery
from router.domain.low_water import Mark

NOT_CONFIRMED: Final = "the broker has not confirmed lately that the partitions are still ours"
NOT_ASSIGNED: Final = "the broker has not told for a while which partitions are ours"
STALE: Final = "the broker says that the partitions are somebody else's; waiting to be given others"
WELL_S: Final = 10.0
"""With partitions for so long a source was well; what fails earlier is opened later and later."""
BEHIND_MAX_S: Final = 60.0
"""For so long a source that is not polled waits for our catalog. Well below the broker's bound on
that, and above WELL_S: the end of such a wait is no failure in a row."""
NOT_OURS: Final = "this worker cannot tell that the flow is still its own"


class Session:
    """The source's reader. One `run`, ever; it ends soon after `stopping` is set.

    `grace_s` says how long calls may run on when it ends by `stopping`.
    """

    def __init__(
        self, parts: FlowParts, *, stopping: asyncio.Event, grace_s: Callable[[], float]
    ) -> None:
        self._parts = parts
        self._source = parts.source
        self._clock = parts.clock
        self._limits = parts.limits
        self._board = parts.board
        self._stopping = stopping
        self._grace_s = grace_s
        self._settles = Settles(
            lambda: self.assignment,
            clock=parts.clock,
            interval_s=parts.limits.commit_interval_s,
            board=parts.board,
        )
        self._tasks = asyncio.TaskGroup()
        self._assigned_s: float | None = None
        self.assignment: Assignment | None = None

    @property
    def was_assigned(self) -> bool:
        """Did the source get as far as telling us our partitions?"""
        return self._assigned_s is not None

    @property
    def was_well(self) -> bool:
        """Did it have partitions for so long that what ended it is no failure in a row?

        A member that joins and fails at once has its whole group rebalance each time.
        """
        began_s = self._assigned_s
        return began_s is not None and self._clock.monotonic_s() - began_s >= WELL_S

    async def run(self) -> EventflowsError | None:
        """Receive until trouble or a stop. What ended it; None: `stopping`."""
        async with self._tasks:
            helpers = [
                self._tasks.create_task(self._watch()),
                *(self._tasks.create_task(loop) for loop in self._settles.loops()),
                self._tasks.create_task(self._measure_lag()),
            ]
            try:
                error = await until_stop(self._open(), self._stopping)
                if error is None and not self._stopping.is_set():
                    error = await until_stop(self._receive(), self._stopping)
                if self._stopping.is_set():
                    self._board.draining()
                await self._retire(self._grace_s() if error is None else self._limits.drain_s)
            finally:
                if self.assignment is not None:
                    self._forget(self.assignment)
                await self._source.close()
                self._board.lag_unknown()
                for helper in helpers:
                    helper.cancel()
        return error

    def on_assigned(
        self, marks: Mapping[int, Mark], *, epoch: int, unreadable: int = 0, expired: int = 0
    ) -> None:
        """Begin anew with these partitions."""
        parts = self._parts
        if self.assignment is not None:
            self._forget(self.assignment)
        self._board.commit_metadata_ignored_total += unreadable
        self._board.expired_total += expired
        self.assignment = Assignment(
            marks,
            epoch=epoch,
            parts=parts,
            may_invoke=lambda: parts.fence() and self._source.holds(epoch=epoch),
            settle_soon=self._settles.soon,
            spawn=self._tasks.create_task,
        )
        if self._assigned_s is None:
            self._assigned_s = self._clock.monotonic_s()
        parts.pace.broken_off()
        self._board.started()

    async def on_revoked(self) -> None:
        """Let running calls end within the drain bound and settle them."""
        await self._retire(self._limits.drain_s)

    # What goes on meanwhile -----------------------------------------------------------------------

    def look(self) -> None:
        """Show what only shows when one looks."""
        assignment, switch = self.assignment, self._parts.switch
        stands_still = assignment is None or assignment.stands_still
        self._board.steered(switch.mode, stands_still=stands_still)
        self._board.halted(
            switch.halted or (assignment.halted_reason if assignment else ""),
            keys=assignment.halted_keys if assignment else 0,
            whole=bool(switch.halted),
        )

    async def _open(self) -> None:
        board = self._board
        board.queued()
        try:
            async with self._parts.openings.turn(self._parts.spec.source.connection_id):
                board.had_its_turn()
                await self._source.open(self)
        finally:
            board.had_its_turn()

    async def _receive(self) -> None:
        """Receive for ever; paused partitions are no reason not to poll (promise 5).

        Raises what `Source.receive` raises, and Unavailable when the source has been without
        partitions that are surely ours for so long that opening it anew is worth a try.
        """
        limits = self._limits
        well_s = self._clock.monotonic_s()
        while True:
            deliveries = await self._source.receive(
                wait_s=limits.receive_wait_s, records_max=limits.receive_records_max
            )
            assignment, now_s = self.assignment, self._clock.monotonic_s()
            trouble = NOT_ASSIGNED if assignment is None else self._trouble_with(assignment)
            bound_s = limits.unassigned_max_s if assignment is None else limits.unconfirmed_max_s
            if trouble is None:
                well_s = now_s
            elif now_s - well_s > bound_s:
                raise Unavailable(trouble)
            if assignment is None:
                continue
            await self._reach(deliveries)
            assignment = self.assignment  # it may have changed meanwhile
            if assignment is None:
                continue
            assignment.accept(deliveries)
            assignment.dispatch()
            if not assignment.held.records:
                self._board.found_empty()
            await asyncio.sleep(0)  # a source that always has records would keep the event loop

    async def _reach(self, deliveries: Sequence[Delivery]) -> None:
        """Wait until we know the log as far as these completions were made by.

        Judged by less, a completion of a version that was just enabled would be passed over for
        good. Raises Unavailable when our catalog stays behind: then they come again later.
        """
        if self._parts.spec.kind is FlowKind.SUBSCRIBER or not deliveries:
            return
        try:
            await self._reach_position(newest_position(deliveries))
        finally:
            self._board.well(Trouble.LOG)  # whoever comes after us may have nothing to reach

    async def _reach_position(self, position: int) -> None:
        began_s = self._clock.monotonic_s()
        while True:
            try:
                await self._parts.history.reach(position)
            except Unavailable as error:
                if self._clock.monotonic_s() - began_s >= BEHIND_MAX_S:
                    raise
                self._board.trouble(Trouble.LOG, error.message)
                await self._clock.sleep(self._limits.look_interval_s)
            else:
                return

    async def _watch(self) -> None:
        """Look regularly whether we may invoke, and go on as soon as we may again."""
        while True:
            await self._clock.sleep(self._limits.look_interval_s)
            assignment = self.assignment
            if assignment is not None:
                self._note(Trouble.FENCE, None if self._parts.fence() else NOT_OURS)
                self._note(Trouble.SOURCE, self._trouble_with(assignment))
                assignment.dispatch()
            self.look()

    async def _measure_lag(self) -> None:
        while True:
            assignment, positions = self.assignment, dict[int, int]()
            if assignment is not None:
                positions = assignment.positions()
                try:
                    lag = await self._source.lag(positions)
                    self._board.lag_measured(lag)
                    assignment.passed(lag.passed)
                except EventflowsError:
                    self._board.lag_unknown()
            await self._lag_is_old(positions)

    async def _lag_is_old(self, measured: Mapping[int, int]) -> None:
        """Return when it is time to measure again: after the interval, and soon when all that was
        received is done, so that nobody reads long of a lag that is none any more."""
        until_s = self._clock.monotonic_s() + self._limits.lag_interval_s
        while (left_s := until_s - self._clock.monotonic_s()) > 0:
            waits = self._board.lag_records > 0
            await self._clock.sleep(min(left_s, LAG_LOOK_S) if waits else left_s)
            assignment = self.assignment
            if not waits or assignment is None or assignment.oldest_unsettled_s() > 0:
                continue
            if assignment.positions() != measured:
                return

    async def _retire(self, bound_s: float) -> None:
        """End the current assignment: drain, settle, forget (promises 3 and 9)."""
        assignment = self.assignment
        if assignment is None:
            return
        until_s = self._clock.monotonic_s() + bound_s
        await assignment.drain(bound_s)
        await self._settles.settle_last(assignment, until_s=until_s)
        if self.assignment is assignment:
            self._forget(assignment)

    # Small things ---------------------------------------------------------------------------------

    def _forget(self, assignment: Assignment) -> None:
        """It is over. What it began may come again, as a repeat."""
        self._parts.begun.update(assignment.begun())
        assignment.abandon()
        self.assignment = None

    def _trouble_with(self, assignment: Assignment) -> str | None:
        """Why nothing may be invoked under this assignment; None: it is surely ours."""
        if assignment.is_stale:
            return STALE
        return None if self._source.holds(epoch=assignment.epoch) else NOT_CONFIRMED

    def _note(self, what: Trouble, reason: str | None) -> None:
        if reason is None:
            self._board.well(what)
        else:
            self._board.trouble(what, reason)
