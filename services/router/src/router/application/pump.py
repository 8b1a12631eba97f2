"""One loop that delivers the records of one flow, whatever its broker (promises 1 to 10).

    receive ──▶ lanes ──▶ calls, bounded ──▶ outcome durable ──▶ low-water mark ──▶ settle
                  ▲             │
                  └── back off ─┘          given up ──▶ dead letter durable ──▶ low-water mark

A session is one life of the source, from open to close. Trouble ends it, the next one begins after
a pause, and records that were not settled come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from catalog.events import FlowKind
from kernel.errors import EventflowsError, Unavailable

from router.application.assignment import Assignment
from router.application.budget import WorkerBudget
from router.application.courier import Courier
from router.application.flow_switch import FlowSwitch
from router.application.limits import PumpLimits
from router.application.openings import Openings
from router.application.run_durations import RunDurations
from router.application.status_board import StatusBoard, Trouble
from router.domain.completion_filter import position_of
from router.domain.delivery import Delivery
from router.domain.errors import PositionLost, StaleAssignment
from router.domain.flow_spec import FlowSpec
from router.domain.low_water import Mark
from router.domain.retry_policy import backoff_s
from router.domain.run_mode import RunMode
from router.domain.status import PumpState, PumpStatus
from router.ports import Clock, DeadLetters, FlowHistory, Random, Source, Target, Tracing

NOT_CONFIRMED: Final = "the broker has not confirmed lately that the partitions are still ours"
NOT_ASSIGNED: Final = "the broker has not told for a while which partitions are ours"
STALE: Final = "the broker says that the partitions are somebody else's; waiting to be given others"
NOT_OURS: Final = "this worker cannot tell that the flow is still its own"


class Pump:
    """Runs one flow until it is stopped.

    `fence` says whether this worker still owns the flow; while it is False nothing new is invoked.
    `budget`, `openings`, `durations` and `tracing` (None: nothing is traced) are what it shares
    with the other flows of its worker. `mode` and `resumed_position` are what `steer` would say
    now. The pump closes `source`, `target` and `dead_letters` when it ends.
    One `run`, ever.
    """

    def __init__(
        self,
        spec: FlowSpec,
        *,
        source: Source,
        target: Target,
        dead_letters: DeadLetters,
        clock: Clock,
        random: Random,
        limits: PumpLimits,
        history: FlowHistory,
        fence: Callable[[], bool],
        budget: WorkerBudget,
        openings: Openings | None = None,
        durations: RunDurations | None = None,
        tracing: Tracing | None = None,
        mode: RunMode = RunMode.RUNNING,
        resumed_position: int = 0,
    ) -> None:
        self._spec = spec
        self._source = source
        self._target = target
        self._dead_letters = dead_letters
        self._clock = clock
        self._random = random
        self._limits = limits
        self._history = history
        self._fence = fence
        self._tracing = tracing
        self._board = StatusBoard(spec.flow_id, clock, instance=spec.instance, durations=durations)
        self._openings = openings or Openings()
        self._switch = FlowSwitch(mode, resumed_position)
        self._share = budget.share(self._dispatch)
        self._begun: dict[int, int] = {}
        self._courier = Courier(
            spec,
            target=target,
            dead_letters=dead_letters,
            clock=clock,
            random=random,
            board=self._board,
        )
        self._assignment: Assignment | None = None
        self._stale: Assignment | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._settle_soon = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False
        self._grace_s = limits.drain_s
        self._failures = 0

    def status(self) -> PumpStatus:
        """What the flow is doing now."""
        self._look()
        assignment = self._assignment
        if assignment is None:
            return self._board.status(in_flight=0, partitions=0)
        return self._board.status(
            in_flight=assignment.in_flight,
            partitions=assignment.partitions,
            oldest_unsettled_s=assignment.oldest_unsettled_s(),
            bytes_held=assignment.bytes_held,
            resting=assignment.resting,
        )

    def steer(self, mode: RunMode, resumed_position: int) -> None:
        """The owner's pause, drain or resume; instant, and it outlives assignments.

        Calls that run are never broken off. A position above the last one given lets what a rule
        halted be tried again, with fresh attempts.
        """
        retry_halted = self._switch.steer(mode, resumed_position)
        if self._assignment is not None:
            self._assignment.steered(retry_halted=retry_halted)
        self._look()

    async def stop(self, *, grace_s: float) -> None:
        """Receive nothing more, drain within `grace_s`, settle, close. Harmless twice.

        Returns when `run` is over; a pump that never ran is stopped at once.
        """
        self._grace_s = grace_s
        self._stopping.set()
        if self._running:
            await self._ended.wait()
        elif not self._ended.is_set():
            await self._close()
            self._board.ended(PumpState.STOPPED)

    async def run(self) -> None:
        """Deliver until `stop`, or until only a person can help (state `failed`).

        Trouble with a broker is a state, not an exception. Raises on a programming error only.
        """
        self._running = True
        try:
            await self._run_sessions()
        except Exception as error:
            self._board.ended(PumpState.FAILED, f"internal error: {type(error).__name__}")
            raise
        finally:
            try:
                await self._close()
            finally:
                self._board.ended(PumpState.STOPPED)
                self._running = False
                self._ended.set()

    # What the source tells ------------------------------------------------------------------------

    def on_assigned(self, marks: Mapping[int, Mark], *, epoch: int, unreadable: int = 0) -> None:
        """Begin anew with these partitions."""
        assert self._tasks is not None, "a source assigned partitions before it was opened"
        if self._assignment is not None:
            self._forget(self._assignment)
        self._board.commit_metadata_ignored_total += unreadable
        self._assignment = Assignment(
            marks,
            epoch=epoch,
            begun=self._begun,
            spec=self._spec,
            source=self._source,
            courier=self._courier,
            clock=self._clock,
            limits=self._limits,
            history=self._history,
            board=self._board,
            switch=self._switch,
            share=self._share,
            may_invoke=lambda: self._fence() and self._source.holds(epoch=epoch),
            settle_soon=self._settle_soon.set,
            spawn=self._tasks.create_task,
            tracing=self._tracing,
        )
        self._stale = None
        self._failures = 0
        self._board.started()

    async def on_revoked(self) -> None:
        """Let running calls end within the drain bound and settle them."""
        await self._retire(self._limits.drain_s)

    # Sessions -------------------------------------------------------------------------------------

    async def _run_sessions(self) -> None:
        while not self._stopping.is_set():
            error = await self._session()
            if isinstance(error, PositionLost):
                self._board.ended(PumpState.FAILED, error.message)
                return
            if error is not None:
                self._failures += 1
                self._board.source_failed(error.message)
                pause_s = self._random.uniform(0, backoff_s(self._failures))
                await self._until_stop(self._clock.sleep(pause_s))

    async def _session(self) -> EventflowsError | None:
        """One life of the source. What ended it; None: `stop`."""
        async with asyncio.TaskGroup() as self._tasks:
            helpers = [
                self._tasks.create_task(self._watch()),
                self._tasks.create_task(self._settle_regularly()),
                self._tasks.create_task(self._measure_lag()),
            ]
            try:
                error = await self._until_stop(self._open())
                if error is None and not self._stopping.is_set():
                    error = await self._until_stop(self._receive())
                if self._stopping.is_set():
                    self._board.draining()
                await self._retire(self._grace_s if error is None else self._limits.drain_s)
            finally:
                if self._assignment is not None:
                    self._forget(self._assignment)
                await self._source.close()
                self._board.lag_unknown()
                for helper in helpers:
                    helper.cancel()
        return error

    async def _open(self) -> None:
        async with self._openings.turn(self._spec.source.connection_id):
            await self._source.open(self)

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
            assignment, now_s = self._assignment, self._clock.monotonic_s()
            trouble = NOT_ASSIGNED if assignment is None else self._trouble_with(assignment)
            bound_s = limits.unassigned_max_s if assignment is None else limits.unconfirmed_max_s
            if trouble is None:
                well_s = now_s
            elif now_s - well_s > bound_s:
                raise Unavailable(trouble)
            if assignment is None:
                continue
            await self._reach(deliveries)
            assignment = self._assignment  # it may have changed meanwhile
            if assignment is None:
                continue
            assignment.accept(deliveries)
            assignment.regulate()
            assignment.dispatch()
            if not assignment.records_held:
                self._board.found_empty()
            await asyncio.sleep(0)  # a source that always has records would keep the event loop

    async def _reach(self, deliveries: Sequence[Delivery]) -> None:
        """Wait until we know the log as far as these completions were made by.

        Judged by less, a completion of a version that was just enabled would be passed over for
        good. Raises Unavailable when our catalog stays behind: then they come again later.
        """
        if self._spec.kind is not FlowKind.SUBSCRIBER and deliveries:
            await self._history.reach(max(map(position_of, deliveries)))

    async def _watch(self) -> None:
        """Look regularly whether we may invoke, and go on as soon as we may again."""
        while True:
            await self._clock.sleep(self._limits.look_interval_s)
            assignment = self._assignment
            if assignment is not None:
                self._note(Trouble.FENCE, None if self._fence() else NOT_OURS)
                self._note(Trouble.SOURCE, self._trouble_with(assignment))
                assignment.dispatch()
            self._look()

    async def _settle_regularly(self) -> None:
        """At every interval, and earlier when much was done: what a kill repeats is bounded by
        time and by number."""
        while True:
            await _first_of(
                self._clock.sleep(self._limits.commit_interval_s), self._settle_soon.wait()
            )
            self._settle_soon.clear()
            if self._assignment is not None:
                await self._settle(self._assignment)

    async def _settle(self, assignment: Assignment) -> None:
        try:
            moved = await assignment.settle()
        except StaleAssignment:
            if assignment is self._assignment:
                self._stale = assignment
            self._begun |= assignment.begun()
            assignment.abandon()
        except EventflowsError as error:
            self._board.trouble(Trouble.SETTLE, error.message)
        else:
            self._board.well(Trouble.SETTLE)
            if moved:
                self._board.committed()

    async def _measure_lag(self) -> None:
        while True:
            assignment = self._assignment
            if assignment is not None:
                try:
                    lag = await self._source.lag(assignment.positions())
                    self._board.lag_records = lag.records
                    self._board.lag_s = lag.oldest_age_s
                except EventflowsError:
                    self._board.lag_unknown()
            await self._clock.sleep(self._limits.lag_interval_s)

    async def _retire(self, bound_s: float) -> None:
        """End the current assignment: drain, settle, forget (promises 3 and 9)."""
        assignment = self._assignment
        if assignment is None:
            return
        await assignment.drain(bound_s)
        await self._settle(assignment)
        if self._assignment is assignment:
            self._forget(assignment)

    async def _close(self) -> None:
        await self._source.close()
        await self._target.close()
        await self._dead_letters.close()

    # Small things ---------------------------------------------------------------------------------

    def _forget(self, assignment: Assignment) -> None:
        """It is over. What it began may come again, as a repeat."""
        self._begun |= assignment.begun()
        assignment.abandon()
        self._assignment = None

    def _dispatch(self) -> None:
        """The worker has a call free that we waited for."""
        if self._assignment is not None:
            self._assignment.dispatch()

    def _look(self) -> None:
        """Show what only shows when one looks."""
        assignment, switch = self._assignment, self._switch
        stands_still = assignment is None or assignment.stands_still
        self._board.steered(switch.mode, stands_still=stands_still)
        self._board.halted(
            switch.halted or (assignment.halted_reason if assignment else ""),
            keys=assignment.halted_keys if assignment else 0,
            whole=bool(switch.halted),
        )

    def _trouble_with(self, assignment: Assignment) -> str | None:
        """Why nothing may be invoked under this assignment; None: it is surely ours."""
        if assignment is self._stale:
            return STALE
        return None if self._source.holds(epoch=assignment.epoch) else NOT_CONFIRMED

    def _note(self, what: Trouble, reason: str | None) -> None:
        if reason is None:
            self._board.well(what)
        else:
            self._board.trouble(what, reason)

    async def _until_stop(self, work: Coroutine[Any, Any, None]) -> EventflowsError | None:
        """Do the work, or break it off when `stop` is asked for. Returns an error of ours."""
        task = await _first_of(work, self._stopping.wait())
        if task.cancelled():
            return None
        error = task.exception()
        if error is None or isinstance(error, EventflowsError):
            return error
        raise error


async def _first_of(
    work: Coroutine[Any, Any, None], signal: Coroutine[Any, Any, Any]
) -> asyncio.Task[None]:
    """Do the work until it ends or the signal comes; the ended task of the work."""
    task, signalled = asyncio.ensure_future(work), asyncio.ensure_future(signal)
    try:
        await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        signalled.cancel()
        await asyncio.wait({task, signalled})
    return task
