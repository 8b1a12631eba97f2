"""Keeps one flow instance as it is wanted: one task that starts, steers, drains, stops its pump.

                want(spec)                 pump raises
    idle ────────────────▶ running ─────────────────────▶ waiting (backoff) ──▶ running
                             │                            blocked (credentials) ──▶ running
                             │  want(other spec)
                             ├──────────────────▶ draining ──▶ running with the other spec
                             │  restart()
                             ├──────────────────▶ draining ──▶ running with the same spec
                             │  want(None)
                             └──────────────────▶ draining ──▶ ended

A pause or a resume makes no new pump: it is passed on to the one that there is, at once.

Every flow has a task of its own, so a customer's cluster that answers slowly or never delays
nothing but its own flows. At most one pump of a flow runs at a time: the next is made when the last
one has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from kernel.backoff import delay_s
from kernel.errors import EventflowsError

from router.application.limits import STOP_ROOM_S
from router.application.until_stop import rest
from router.domain.errors import CredentialsMissing
from router.domain.flow_spec import FlowSpec, same_flow
from router.domain.places import Instance
from router.domain.run_mode import RunMode, Steering
from router.domain.status import LAG_UNKNOWN, PumpState, PumpStatus
from router.ports import Clock, Random

RESTART_FIRST_S = 0.5
RESTART_LONGEST_S = 30.0
STOP_SLACK_S = STOP_ROOM_S + 2.0
"""More than a pump needs on top of its grace time, or to close its source once it is cancelled:
one that takes longer does not keep its word."""
CANCEL_AGAIN_S = 30.0
"""Between the cancels of a pump that does not end all the same, and what the log says of it."""
BLOCKED_LOOK_S = 30.0
"""New credentials wake the flow at once; this is for a vault that gets its old ones back."""
ERROR_CHARACTERS_MAX = 500
NOT_ENDING = "the pump does not end although it was cancelled; the flow waits until it does"

_log = logging.getLogger(__name__)


class RunningPump(Protocol):
    """The part of `application.pump.Pump` that a keeper uses."""

    async def run(self) -> None:
        """Deliver until `stop`, or until a person has to act (state `failed`)."""
        ...

    async def stop(self, *, grace_s: float) -> None:
        """Drain within `grace_s`, commit, close. Harmless twice."""
        ...

    def steer(self, mode: RunMode, resumed_position: int) -> None:
        """Run like this from now on. Instant; also before `run`. Harmless twice."""
        ...

    def status(self) -> PumpStatus:
        """What the flow is doing now."""
        ...


OpenPump = Callable[[FlowSpec], Awaitable[RunningPump]]
"""Makes the pump of a spec: reads credentials, connects nothing. Raises EventflowsError."""


class FlowKeeper:
    """Owner of one flow instance's pump. `run` ends once nothing is wanted and the pump has ended.

    `healthy` is for whoever watches it: shown in the status, and of no effect here.
    """

    def __init__(
        self,
        spec: FlowSpec,
        *,
        steering: Steering,
        open_pump: OpenPump,
        clock: Clock,
        random: Random,
        grace_s: float,
    ) -> None:
        self.instance = Instance(spec.flow_id, spec.instance)
        self.healthy = True
        self._wanted: FlowSpec | None = spec
        self._steering = steering
        self._open_pump = open_pump
        self._clock = clock
        self._random = random
        self._grace_s = grace_s
        self._changed = asyncio.Event()
        self._pump: RunningPump | None = None
        self._state: tuple[PumpState, str, datetime] = (PumpState.STARTING, "", clock.now())
        self._started_s = clock.monotonic_s()
        self._failures = 0
        self._overdue = False
        self._restarts = 0
        self._progress_of_earlier_pumps = 0
        self.ended = False

    def want(self, spec: FlowSpec | None, steering: Steering | None = None) -> None:
        """From now on the flow shall run with `spec`, steered so, or not at all. Nothing happens if
        it does.

        Must not be called once `ended` is set: make a new keeper.
        """
        if steering is not None and steering != self._steering:
            self._steering = steering
            self._steer()
        if not same_flow(spec, self._wanted):
            self._wanted = spec
            self._changed.set()

    def restart(self, reason: str) -> None:
        """End the pump as for a change of the spec, and make another one."""
        _log.warning("the flow's source is opened anew: %s", reason, extra=self._names())
        self._restarts += 1
        self._changed.set()

    @property
    def wanted(self) -> FlowSpec | None:
        """What was wanted last."""
        return self._wanted

    def status(self) -> PumpStatus:
        """The pump's own words while there is one, else what the keeper is waiting for."""
        if self._pump is not None:
            return self._completed(self._pump.status())
        state, reason, since = self._state
        return PumpStatus(
            flow_id=self.instance.flow_id,
            instance=self.instance.number,
            healthy=self.healthy,
            source_restarts_total=self._restarts,
            progress_total=self._progress_of_earlier_pumps,
            state=state,
            reason=reason,
            since=since,
            last_progress=None,
            lag_records=LAG_UNKNOWN,
            in_flight=0,
            settled_total=0,
            dead_lettered_total=0,
            retries_total=0,
            partitions=0,
        )

    def _completed(self, status: PumpStatus) -> PumpStatus:
        """What the pump says, and what the keeper alone knows."""
        state, reason = status.state, status.reason
        if self._overdue:
            state, reason = PumpState.DRAINING, NOT_ENDING
        elif state is PumpState.PAUSED and not reason:
            reason = self._steering.reason
        return replace(
            status,
            state=state,
            reason=reason,
            healthy=self.healthy and state is not PumpState.FAILED,
            source_restarts_total=self._restarts,
            progress_total=status.progress_total + self._progress_of_earlier_pumps,
        )

    async def run(self) -> None:
        """Keep the flow as wanted until nothing is wanted. Raises only CancelledError."""
        while (spec := self._wanted) is not None:
            self._changed.clear()
            if not self._is_blocked:  # one that looks again stays blocked until it has found them
                self._enter(PumpState.STARTING)
            self._started_s = self._clock.monotonic_s()
            delivering = asyncio.create_task(
                self._deliver(spec), name="pump {}/{}".format(*self.instance)
            )
            try:
                await self._until_changed(delivering)
                await self._drain(delivering)
                await self._until_ended(delivering)
            except asyncio.CancelledError:
                delivering.cancel()
                raise
            await self._after(delivering)
        self._enter(PumpState.STOPPED)
        self.ended = True

    async def _deliver(self, spec: FlowSpec) -> None:
        pump = await self._open_pump(spec)
        self._enter(PumpState.STARTING)
        self._pump = pump
        self._steer()
        await pump.run()

    def _steer(self) -> None:
        if self._pump is not None:
            mode, resumed_position, _ = self._steering
            self._pump.steer(mode, resumed_position)

    async def _until_changed(self, delivering: asyncio.Task[None]) -> None:
        """Return when something else is wanted, or the pump raised."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({delivering, changed}, return_when=asyncio.FIRST_COMPLETED)
            if delivering.done() and not delivering.cancelled() and delivering.exception() is None:
                # It ended by itself, without an error: a person has to act. Keep its words.
                await changed
        finally:
            changed.cancel()

    async def _drain(self, delivering: asyncio.Task[None]) -> None:
        """End the pump within its grace time; cancel it if it does not keep to that."""
        pump = self._pump
        try:
            async with asyncio.timeout(self._grace_s + STOP_SLACK_S):
                if pump is None:
                    delivering.cancel()
                else:
                    await pump.stop(grace_s=self._grace_s)
                await asyncio.wait({delivering})
        except TimeoutError:
            _log.error("the pump did not stop in time and is cancelled", extra=self._names())
        except Exception:  # noqa: BLE001  a pump's mistake must not end the keeper of the flow
            _log.exception("the pump's stop failed", extra=self._names())
        finally:
            delivering.cancel()
            await asyncio.wait({delivering}, timeout=STOP_SLACK_S)

    async def _until_ended(self, delivering: asyncio.Task[None]) -> None:
        """Wait as long as it takes: two pumps of one flow would break the order of its records."""
        try:
            if not delivering.done():
                self._overdue = True
                self._enter(PumpState.DRAINING, NOT_ENDING)
            while not delivering.done():
                _log.error(NOT_ENDING, extra=self._names())
                await asyncio.wait({delivering}, timeout=CANCEL_AGAIN_S)
                delivering.cancel()
        finally:
            self._overdue = False

    async def _after(self, delivering: asyncio.Task[None]) -> None:
        """Forget the pump; after an error wait before the next one, or until something changes."""
        if self._pump is not None:
            self._progress_of_earlier_pumps += self._pump.status().progress_total
        self._pump = None
        error = None
        if delivering.done() and not delivering.cancelled():
            error = delivering.exception()
        ran_long = self._clock.monotonic_s() - self._started_s > RESTART_LONGEST_S
        if error is None or ran_long:
            self._failures = 0
        if error is None:
            return
        if isinstance(error, CredentialsMissing):
            self._failures = 0
            if not self._is_blocked:
                _log.warning("the flow is blocked: %s", error.message, extra=self._names())
                self._enter(PumpState.BLOCKED, error.message)
            await rest(BLOCKED_LOOK_S, until=self._changed, clock=self._clock)
            return
        self._failures += 1
        wait_s = delay_s(
            self._failures,
            first_s=RESTART_FIRST_S,
            longest_s=RESTART_LONGEST_S,
            random=lambda: self._random.uniform(0.0, 1.0),
        )
        if isinstance(error, EventflowsError):
            reason = error.message
            _log.warning("the flow cannot start: %s", reason, extra=self._names())
        else:
            reason = f"the pump failed with {type(error).__name__}; see the worker's log"
            _log.error("the pump failed", exc_info=error, extra=self._names())
        self._enter(PumpState.BACKING_OFF, reason[:ERROR_CHARACTERS_MAX])
        await rest(wait_s, until=self._changed, clock=self._clock)

    @property
    def _is_blocked(self) -> bool:
        return self._state[0] is PumpState.BLOCKED

    def _enter(self, state: PumpState, reason: str = "") -> None:
        self._state = (state, reason, self._clock.now())

    def _names(self) -> dict[str, str]:
        return {"flow_id": self.instance.flow_id}
