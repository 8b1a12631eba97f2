"""Is a flow stuck? Lag without progress, for as long as nothing can excuse it (promise 10).

    well ──records wait, nothing ends for the limit──▶ source opened anew ──limit again──▶ stuck
      ▲                                                        │                            │
      └───────────────── something ended, or nothing waits ────┴────────────────────────────┘

Progress is whatever ended: an attempt at the target, at the dead letters or at opening the source,
and a settle. The limit is `STALL_MAX_S`, and longer where waiting is what the flow has to do: a run
may take its time limit, and a delivery that backs off the longest wait of its flow's rules. A flow
that is paused, blocked or failed waits for a person and is not judged. One that drains is: a pump
that does not end, although it was cancelled, is what only another process helps.

A key that halted, or a delivery that rests, excuses what is behind it and nothing else: when its
source keeps records to itself, or heads that may run do not, the flow has no more time than others.
Records that a limit keeps in the source (the span behind such a key) are not among those.

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


class _For(Enum):
    """What the records that wait, wait for."""

    NOBODY = "nobody"
    """None waits, or all for a person."""
    TURN = "turn"
    REST = "rest"
    """Nothing but deliveries that rest, and what is behind them."""
    RECORDS = "records"
    """Nobody knows whether any wait, and the source was found empty."""
    PROGRESS = "progress"


class Watchdog:
    """Watches one flow instance. STALLED stands until it moves; the others are told once."""

    __slots__ = ("_polls_empty", "_progress", "_received", "_restarts", "_rested_s", "_stalled_s")

    def __init__(self) -> None:
        self._progress = -1
        self._polls_empty = -1
        self._received = -1
        self._stalled_s = 0.0
        self._rested_s = 0.0
        """Counted apart: when something else waits for a moment, no time of rest counts for it."""
        self._restarts = 0

    def look(
        self, status: PumpStatus, *, run_max_s: float, rest_max_s: float, elapsed_s: float
    ) -> Verdict:
        """Judge; `elapsed_s` since the last look, `run_max_s` is how long one run may take, and
        `rest_max_s` how long a delivery may wait for its next attempt."""
        moved = status.progress_total != self._progress
        waits_for = _waits_for(
            status,
            receives=status.received_total != self._received,
            was_empty=status.polls_empty_total != self._polls_empty,
        )
        self._progress, self._received = status.progress_total, status.received_total
        self._polls_empty = status.polls_empty_total
        if moved or waits_for is _For.NOBODY:
            self._stalled_s, self._rested_s, self._restarts = 0.0, 0.0, 0
            return Verdict.WELL
        if waits_for is _For.PROGRESS:
            self._stalled_s += min(elapsed_s, LOOK_MAX_S)
        elif waits_for is not _For.TURN:
            # That nothing waits here is no proof that a source that was opened anew works again.
            self._stalled_s = 0.0
        if waits_for is _For.REST:
            self._rested_s += min(elapsed_s, LOOK_MAX_S)
        limits = 2 ** min(self._restarts, DOUBLINGS_MAX)
        is_late = self._stalled_s >= limits * _stalled_max_s(status, run_max_s)
        rests_too_long = self._rested_s >= limits * (rest_max_s + STALL_MAX_S)
        if not is_late and not rests_too_long:
            return Verdict.STALLED if self._restarts else Verdict.WELL
        self._stalled_s, self._rested_s = 0.0, 0.0
        self._restarts += 1
        return Verdict.RESTART_SOURCE if self._restarts == 1 else Verdict.STUCK


def _waits_for(status: PumpStatus, *, receives: bool, was_empty: bool) -> _For:
    """`receives`: something was received since the last look; `was_empty`: nothing was there."""
    if status.state in _EXCUSED or not (status.lag_records or status.oldest_unsettled_s):
        return _For.NOBODY
    if status.queued:
        return _For.TURN
    # A halted key and a delivery that rests hold the low-water mark, so that lag says nothing any
    # more. What is not held back by them shows as a call, a head that may run, or as records that
    # the source keeps to itself; not as one that the next look may find received.
    others = status.in_flight or status.ready or (status.receivable and not receives)
    if status.resting and not others:
        return _For.REST
    if _halts(status) and not others:
        return _For.NOBODY
    if was_empty and status.lag_records == LAG_UNKNOWN:
        return _For.RECORDS
    return _For.PROGRESS


def _halts(status: PumpStatus) -> bool:
    """Does something stand until a resume? Not in a pump that ends."""
    is_draining = status.state is PumpState.DRAINING
    return status.state is PumpState.HALTED or (status.halted_keys > 0 and not is_draining)


def _stalled_max_s(status: PumpStatus, run_max_s: float) -> float:
    """How long nothing may end although something should."""
    if status.in_flight:
        return run_max_s + STALL_MAX_S
    return BACKING_OFF_MAX_S if status.state is PumpState.BACKING_OFF else STALL_MAX_S


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
