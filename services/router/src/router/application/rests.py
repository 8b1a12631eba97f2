"""Deliveries that wait for their next attempt, and what failed attempts say about the target.

Backing off takes no slot (promise 6), and no task for each: all wait in one queue with one alarm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from router.application.courier import Verdict
from router.application.slots import Spawn
from router.application.work import Work
from router.domain.due_queue import DueQueue
from router.domain.outcome import Outcome
from router.domain.pace import Pace, is_targets
from router.ports import Clock, Random


class Rests:
    """Of one assignment. `wake` is given those that may run again, in the order of their times."""

    def __init__(
        self,
        *,
        pace: Pace,
        clock: Clock,
        random: Random,
        spawn: Spawn,
        wake: Callable[[Sequence[Work]], None],
    ) -> None:
        self._pace = pace
        self._clock = clock
        self._random = random
        self._spawn = spawn
        self._wake = wake
        self._due: DueQueue[Work] = DueQueue()
        self._alarm: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, work: Work, delay_s: float) -> None:
        """Let a delivery wait."""
        if self._due.add(self._clock.monotonic_s() + delay_s, work):
            self._set_alarm()

    def tell_pace(self, work: Work, verdict: Verdict, *, calls_open: int) -> None:
        """What an attempt came to; it may be that the delivery was given up and is a letter. Not
        called while all succeed.

        When the target was away and has taken one, what waits for it alone need not wait on: after
        an outage a lane may have a minute to go. The pace bounds the rush.
        """
        trial, pace = work.trial, self._pace
        if trial is not None and trial.letter is not None and verdict is not None:
            return  # that a letter could not be written says nothing about the target
        outcome = _failure(work, verdict)
        if outcome is not None and is_targets(outcome):
            pace.failed(
                outcome,
                work.delivery[:3],
                calls_open=calls_open,
                now_s=self._clock.monotonic_s(),
                chance=self._random.uniform(0, 1),
            )
        elif pace.is_alert and pace.succeeded(calls_open=calls_open) and self._due:
            self._due.hasten(_earliest_s)
            self._set_alarm()

    def end(self) -> None:
        """Forget everything."""
        self._due.clear()
        if self._alarm is not None:
            self._alarm.cancel()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._spawn(self._wake_the_due())

    async def _wake_the_due(self) -> None:
        while (due_s := self._due.next_s) is not None:
            wait_s = due_s - self._clock.monotonic_s()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            self._wake(self._due.take_due(self._clock.monotonic_s()))
        self._alarm = None


def _failure(work: Work, verdict: Verdict) -> Outcome | None:
    """How the attempt failed; None: it succeeded, whatever earlier ones came to."""
    trial = work.trial
    if trial is None or (verdict is None and trial.letter is None):
        return None
    return trial.history.newest[-1].outcome


def _earliest_s(work: Work) -> float | None:
    return None if work.trial is None else work.trial.not_before_s
