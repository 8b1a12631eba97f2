"""Since when the oldest record of a partition waits, by the times that the records carry.

One time is kept for each second of records, so the answer is right to a second, and what is kept is
bounded by the records that may be held.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from router.domain.delivery import NO_TIME_MS

STEP_MS: Final = 1_000


class RecordAges:
    """The times of one partition's received records."""

    def __init__(self) -> None:
        self._times: deque[tuple[int, int]] = deque()
        self._next = -1
        self._asked_first: tuple[int, int] | None = None
        """Of a record whose time is not known: its position, and when it was asked for."""

    def received(self, first_offset: int, last_offset: int, timestamp_ms: int) -> None:
        """Records were handed out; `timestamp_ms` is the first one's, or NO_TIME_MS."""
        if not self._times or abs(timestamp_ms - self._times[-1][1]) >= STEP_MS:
            self._times.append((first_offset, timestamp_ms))
        self._next = last_offset + 1

    def forget_below(self, position: int) -> None:
        """Everything before `position` is done. To be told now and then while nothing waits: only
        this and `waiting_ms` let go of times."""
        times = self._times
        while len(times) > 1 and times[1][0] <= position:
            times.popleft()

    def waiting_ms(self, position: int, *, now_ms: int) -> int:
        """How long the record at `position` has been waiting, if something waits from there on.

        By its own time if it was received and has one; else since this was asked first for that
        position.
        """
        self.forget_below(position)
        times = self._times
        if times and times[0][0] <= position < self._next:
            time_ms = times[0][1]
            if time_ms > NO_TIME_MS:
                return max(0, now_ms - time_ms)
        if self._asked_first is None or self._asked_first[0] != position:
            self._asked_first = (position, now_ms)
        return max(0, now_ms - self._asked_first[1])
