"""The contiguous low-water mark of one partition: up to where everything is done (promise 3)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""First and last offset of each run of finished records, rising."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a partition is done: below `position` all, and `finished` above it.

    A range may span offsets that hold no record.
    """

    position: int
    finished: Ranges = ()


class LowWater:
    """Follows which offsets were started and which are finished, from a mark on.

    Offsets that never come (compaction, control records) leave no hole: the mark moves from one
    started offset to the next one that was started.
    """

    def __init__(self, mark: Mark) -> None:
        self._started: deque[int] = deque()
        self._open: set[int] = set()
        self._next = mark.position
        self._earlier = deque(mark.finished)

    def start(self, offset: int) -> bool:
        """A record was received; False: it was finished before, under another assignment.

        Raises ValueError unless offsets rise.
        """
        if offset < self._next:
            raise ValueError(f"offset {offset} comes after {self._next - 1}")
        while self._earlier and self._earlier[0][1] < offset:
            self._earlier.popleft()
        is_new = not self._earlier or offset < self._earlier[0][0]
        self._started.append(offset)
        self._next = offset + 1
        if is_new:
            self._open.add(offset)
        else:
            self._trim()
        return is_new

    def finish(self, offset: int) -> None:
        """The outcome of a record is durable. Raises ValueError for one that is not open."""
        if offset not in self._open:
            raise ValueError(f"offset {offset} was not started, or is finished")
        self._open.remove(offset)
        self._trim()

    @property
    def position(self) -> int:
        """Offset of the first record that is not done: what may be committed."""
        return self._started[0] if self._started else self._next

    @property
    def span(self) -> int:
        """Records from the low-water mark to the newest one received."""
        return len(self._started)

    def mark(self) -> Mark:
        """What has to be remembered, so that nothing that is finished is done again."""
        ranges: list[tuple[int, int]] = []
        previous_finished = False
        for offset in self._started:
            finished = offset not in self._open
            if finished and previous_finished:
                ranges[-1] = (ranges[-1][0], offset)
            elif finished:
                ranges.append((offset, offset))
            previous_finished = finished
        # What was finished earlier and did not come again yet is still finished.
        ranges += [(max(first, self._next), last) for first, last in self._earlier_left()]
        return Mark(position=self.position, finished=tuple(ranges))

    def _earlier_left(self) -> list[tuple[int, int]]:
        return [(first, last) for first, last in self._earlier if last >= self._next]

    def _trim(self) -> None:
        while self._started and self._started[0] not in self._open:
            self._started.popleft()
