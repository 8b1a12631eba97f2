"""One loop that delivers the records of one flow, whatever its broker (promises 1 to 10).

    receive ──▶ lanes ──▶ calls, bounded ──▶ outcome durable ──▶ low-water mark ──▶ settle
                  ▲             │
                  └── back off ─┘          given up ──▶ dead letter durable ──▶ low-water mark

A session is one life of the source, from open to close. Trouble ends it, the next one begins after
a pause, and records that were not settled come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kernel.errors import EventflowsError, Unavailable

from router.application.budget import WorkerBudget
from router.application.courier import Courier
from router.application.flow_halts import FlowHalts
from router.application.flow_parts import FlowParts
from router.application.flow_switch import FlowSwitch
from router.application.limits import PumpLimits
from router.application.openings import Openings
from router.application.run_durations import RunDurations
from router.application.served import Served
from router.application.session import Session
from router.application.status_board import StatusBoard
from router.application.until_stop import until_stop
from router.domain.errors import PositionLost
from router.domain.flow_spec import FlowSpec
from router.domain.pace import Pace
from router.domain.retry_policy import AWAY_LONGEST_S, BACKOFF_LONGEST_S, backoff_s
from router.domain.run_mode import RunMode
from router.domain.status import PumpState, PumpStatus
from router.ports import Clock, DeadLetters, FlowHistory, Random, Source, Target, Tracing


class Pump:
    """Runs one flow until it is stopped.

    `fence` says whether this worker still owns the flow; while it is False nothing new is invoked.
    `budget`, `openings`, `durations` and `tracing` (None: nothing is traced) are what it shares
    with the other flows of its worker, `served` with redrives of its own. `mode` and
    `resumed_position` are what `steer` would say now; `halts` has what halted the flow under an
    earlier pump, and takes what halts it under this one (None: nobody is told). The pump closes
    `source`, `target` and `dead_letters` when it ends.
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
        served: Served | None = None,
        tracing: Tracing | None = None,
        halts: FlowHalts | None = None,
        mode: RunMode = RunMode.RUNNING,
        resumed_position: int = 0,
    ) -> None:
        self._target = target
        self._dead_letters = dead_letters
        self._random = random
        self._board = StatusBoard(spec.flow_id, clock, instance=spec.instance, durations=durations)
        self._parts = FlowParts(
            spec=spec,
            source=source,
            courier=Courier(
                spec,
                target=target,
                dead_letters=dead_letters,
                clock=clock,
                random=random,
                board=self._board,
                served=served or Served(),
            ),
            clock=clock,
            limits=limits,
            history=history,
            fence=fence,
            openings=openings or Openings(),
            board=self._board,
            switch=_switch(spec, mode, resumed_position, halts),
            pace=Pace(spec.concurrency_max),
            random=random,
            share=budget.share(self._dispatch),
            tracing=tracing,
        )
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False
        self._grace_s = limits.drain_s
        self._session = self._new_session()

    def status(self) -> PumpStatus:
        """What the flow is doing now."""
        self._session.look()
        assignment = self._session.assignment
        if assignment is None:
            return self._board.status(in_flight=0, partitions=0)
        return self._board.status(
            in_flight=assignment.in_flight,
            partitions=assignment.partitions,
            oldest_unsettled_s=assignment.oldest_unsettled_s(),
            bytes_held=assignment.held.bytes,
            resting=assignment.resting,
            ready=assignment.ready,
        )

    def steer(self, mode: RunMode, resumed_position: int) -> None:
        """The owner's pause, drain or resume; instant, and it outlives assignments.

        Calls that run are never broken off. A position above the last one given lets what a rule
        halted be tried again, with fresh attempts.
        """
        retry_halted = self._parts.switch.steer(mode, resumed_position)
        assignment = self._session.assignment
        if assignment is not None:
            assignment.steered(retry_halted=retry_halted)
        self._session.look()

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

    async def _run_sessions(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            session = self._session = self._new_session()
            error = await session.run()
            if isinstance(error, PositionLost):
                self._board.ended(PumpState.FAILED, error.message)
                return
            if error is not None:
                failures = 1 if session.was_well else failures + 1
                is_away = isinstance(error, Unavailable) and not session.was_assigned
                longest_s = AWAY_LONGEST_S if is_away else BACKOFF_LONGEST_S
                await self._pause(error, backoff_s(failures, longest_s=longest_s))

    async def _pause(self, error: EventflowsError, longest_s: float) -> None:
        """Before the next session; each failure in a row makes it longer, but while the broker is
        not reached at all only so much longer that flows go on soon after it is back: openings have
        turns. One that refuses us, or fails each time that we have joined, is left alone."""
        self._board.source_failed(error.message)
        pause_s = self._random.uniform(0, longest_s)
        await until_stop(self._parts.clock.sleep(pause_s), self._stopping)

    def _new_session(self) -> Session:
        return Session(self._parts, stopping=self._stopping, grace_s=lambda: self._grace_s)

    def _dispatch(self) -> None:
        """The worker has a call free that we waited for."""
        if self._session.assignment is not None:
            self._session.assignment.dispatch()

    async def _close(self) -> None:
        await self._parts.source.close()
        await self._target.close()
        await self._dead_letters.close()


def _switch(
    spec: FlowSpec, mode: RunMode, resumed_position: int, halts: FlowHalts | None
) -> FlowSwitch:
    if halts is None:
        return FlowSwitch(mode, resumed_position)
    return FlowSwitch(
        mode,
        resumed_position,
        halt=halts.of(spec.flow_id),
        tell=lambda halt: halts.begin(spec.flow_id, halt),
    )
