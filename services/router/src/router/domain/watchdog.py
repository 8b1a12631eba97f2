"""Is a flow stuck? Lag without progress, for as long as nothing can excuse it (promise 10).

    well ──records wait, nothing ends for the limit──▶ source opened anew ──limit again──▶ stuck
      ▲                                                        │                            │
      └───────────────── something ended, or nothing waits ────┴────────────────────────────┘

Progress is whatever ended: an attempt at the target, at the dead letters or at opening the source,
and a settle. The limit is `STALL_MAX_S`, and longer where waiting is what the flow has to do: a run
may take its time limit, and a delivery that backs off the longest wait of its flow's rules. A flow
that is paused, halted, blocked or failed waits for a person and is not judged. One that drains is:
a pump that does not end, although it was cancelled, is what only another process helps.

What is added up is time between looks, a few seconds of each at most: a process that was frozen
finds nothing stuck that had no chance to move. Nor has a source that waits for its turn to be
opened, behind others of a cluster that does not answer: its time goes on when it has its turn.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Final

from router.domain.retry_policy import BACKOFF_LONGEST_S, RETRY_AFTER_MAX_S
from router.domain.status import LAG_UNKNOWN, PumpState, PumpStatus

STALL_MAX_S: Final = 60.0
BACKING_OFF_MAX_S: Final = STALL_MAX_S + BACKOFF_LONGEST_S + RETRY_AFTER_MAX_S
"""Of a flow in trouble: its source is opened every 60 s at least, and its target asked as soon as
that wished for."""
LOOK_MAX_S: Final = 3.0
"""What one look counts for at most."""
DOUBLINGS_MAX: Final = 6
"""A source that does not help is opened anew after 1, 2, 4… limits, at last after 64 (an hour)."""

WORKER_UPTIME_MIN_S: Final = 5 * 60.0
"""Before this a worker does not restart itself, although most of its flows are stuck."""
WORKER_UPTIME_LONG_S: Final = 30 * 60.0
"""The same if most of its flows are well, which pay for it with a pause of seconds, or if a restart
did not help the stuck ones."""
HOPELESS_S: Final = 24 * 3600.0
"""So long a flow that a restart did not help is no reason for another one."""

_EXCUSED: Final = frozenset(
    {
        PumpState.PAUSED,
        PumpState.HALTED,
        PumpState.STOPPED,
        PumpState.FAILED,
        PumpState.BLOCKED,
    }
)


class Verdict(Enum):
    """What is to be done about a flow. STUCK: its source was opened anew, and that did not help."""

    WELL = "well"
    STALLED = "stalled"
    RESTART_SOURCE = "restart_source"
    STUCK = "stuck"


class Watchdog:
    """Watches one flow instance. STALLED stands until it moves; the others are told once."""

    __slots__ = ("_polls_empty", "_progress", "_restarts", "_stalled_s")

    def __init__(self) -> None:
        self._progress = -1
        self._polls_empty = -1
        self._stalled_s = 0.0
        self._restarts = 0

    def look(
        self, status: PumpStatus, *, run_max_s: float, rest_max_s: float, elapsed_s: float
    ) -> Verdict:
        """Judge; `elapsed_s` since the last look, `run_max_s` is how long one run may take, and
        `rest_max_s` how long a delivery may wait for its next attempt."""
        moved = status.progress_total != self._progress
        was_empty = status.polls_empty_total != self._polls_empty
        self._progress, self._polls_empty = status.progress_total, status.polls_empty_total
        limit_s = _limit_s(status, run_max_s=run_max_s, rest_max_s=rest_max_s)
        if moved or limit_s is None or not _waits(status):
            self._stalled_s, self._restarts = 0.0, 0
            return Verdict.WELL
        if was_empty and status.lag_records == LAG_UNKNOWN:
            # Nothing is known to wait; but that is no proof that an opened source works again.
            self._stalled_s = 0.0
        else:
            self._stalled_s += 0.0 if status.queued else min(elapsed_s, LOOK_MAX_S)
        if self._stalled_s < limit_s * 2 ** min(self._restarts, DOUBLINGS_MAX):
            return Verdict.STALLED if self._restarts else Verdict.WELL
        self._stalled_s = 0.0
        self._restarts += 1
        return Verdict.RESTART_SOURCE if self._restarts == 1 else Verdict.STUCK


def _waits(status: PumpStatus) -> bool:
    """Do records wait, as far as one knows?"""
    return status.lag_records != 0 or status.oldest_unsettled_s > 0


def _limit_s(status: PumpStatus, *, run_max_s: float, rest_max_s: float) -> float | None:
    """How long nothing may end; None: for as long as it likes.

    A halted key holds the low-water mark, so that lag says nothing any more.
    """
    if status.state in _EXCUSED or status.halted_keys:
        return None
    if status.in_flight:
        return run_max_s + STALL_MAX_S
    if status.resting:
        return rest_max_s + STALL_MAX_S
    if status.state is PumpState.BACKING_OFF:
        return BACKING_OFF_MAX_S
    return STALL_MAX_S


def worth_a_restart(
    stuck: AbstractSet[str], *, flows: int, hopeless: AbstractSet[str], uptime_s: float
) -> bool:
    """Shall the worker restart itself for the flows that are stuck, of so many that it runs?

    Not soon after its start. Where most flows are well, only for one that a restart did not fail
    to help lately (`hopeless`): what nothing helps must not take the others down again and again.
    """
    most = 2 * len(stuck) > flows
    if stuck - hopeless:
        return uptime_s >= (WORKER_UPTIME_MIN_S if most else WORKER_UPTIME_LONG_S)
    return most and uptime_s >= WORKER_UPTIME_LONG_S


def is_impaired(*, unhealthy: int, flows: int) -> bool:
    """Are so many flows unhealthy that the worker itself cannot be called ready?"""
    return 2 * unhealthy > flows
