"""When a session settles its assignment, and what becomes of a settle that fails.

At every interval, and earlier when much was done: what a kill repeats is bounded by time and by
number (ADR 0010).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from kernel.errors import EventflowsError

from router.application.assignment import Assignment
from router.application.limits import LAST_SETTLE_ROOM_S
from router.application.status_board import StatusBoard, Trouble
from router.domain.errors import StaleAssignment
from router.ports import Clock

SETTLES_MAX: Final = 2
"""Settles that run at the same time. A broker holds a commit for some milliseconds (Kafka 4.1: 5):
with one at a time all that ends meanwhile would be repeated after a kill."""
LAST_SETTLES_MAX: Final = 3
"""Tries to settle an assignment that ends, one after the other."""
NOT_IN_TIME: Final = "the broker did not take the last marks in time; what they settle comes again"


class Settles:
    """Of the session's `current` assignment, for as long as the `loops` run."""

    def __init__(
        self,
        current: Callable[[], Assignment | None],
        *,
        clock: Clock,
        interval_s: float,
        board: StatusBoard,
    ) -> None:
        self._current = current
        self._clock = clock
        self._interval_s = interval_s
        self._board = board
        self._due = asyncio.Event()

    def soon(self) -> None:
        """So much is done that it is time for a settle."""
        self._due.set()

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """To be run at the same time, until they are cancelled."""
        return [*(self._settle_when_due() for _ in range(SETTLES_MAX)), self._tick()]

    async def settle_last(self, assignment: Assignment, *, until_s: float) -> None:
        """Settle what is left of an assignment that ends.

        One that fails is tried again before `until_s`, one that takes `LAST_SETTLE_ROOM_S` longer
        is broken off: what is not settled is repeated.
        """
        room_s = until_s - self._clock.monotonic_s() + LAST_SETTLE_ROOM_S
        timer = asyncio.create_task(self._clock.sleep(room_s))
        settling = asyncio.create_task(self._settle_rest(assignment, until_s=until_s))
        try:
            await asyncio.wait({settling, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            settling.cancel()
            timer.cancel()
            await asyncio.wait({settling, timer})
        if settling.cancelled():
            self._board.trouble(Trouble.SETTLE, NOT_IN_TIME)
        else:
            settling.result()

    async def _settle_rest(self, assignment: Assignment, *, until_s: float) -> None:
        for _ in range(LAST_SETTLES_MAX):
            is_settled = await self._settle(assignment, rest_until_s=until_s)
            if is_settled or self._clock.monotonic_s() >= until_s:
                break

    async def _settle_when_due(self) -> None:
        while True:
            await self._due.wait()
            if not self._due.is_set():
                continue  # another one of us was woken first
            self._due.clear()
            assignment = self._current()
            if assignment is not None and not assignment.unsettled.is_ending:
                await self._settle(assignment)

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(self._interval_s)
            self._due.set()

    async def _settle(self, assignment: Assignment, *, rest_until_s: float | None = None) -> bool:
        """Is there nothing left to settle? False: it may help to try again."""
        unsettled = assignment.unsettled
        try:
            if rest_until_s is None:
                moved = await unsettled.settle()
            else:
                moved = await unsettled.settle_rest(until_s=rest_until_s)
        except StaleAssignment:
            assignment.is_stale = True
            assignment.abandon()
        except EventflowsError as error:
            self._board.trouble(Trouble.SETTLE, error.message)
            return False
        else:
            self._board.well(Trouble.SETTLE)
            if moved:
                self._board.committed()
        return True
