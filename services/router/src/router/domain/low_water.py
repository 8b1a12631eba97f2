"""The contiguous low-water mark of one partition: up to where everything is done (promise 3)."""

from __future__ import annotations

from collections import deque


class LowWater:
    """Follows which offsets were started and which are finished.

    Offsets that never come (compaction, control records) leave no hole: the mark moves from one
    started offset to the next one that was started.
    """

    def __init__(self, position: int) -> None:
        self._started: deque[int] = deque()
        self._open: set[int] = set()
        self._next = position

    def start(self, offset: int) -> None:
        """A record was received. Raises ValueError unless offsets rise."""
        if offset < self._next:
            raise ValueError(f"offset {offset} comes after {self._next - 1}")
        self._started.append(offset)
        self._open.add(offset)
        self._next = offset + 1

    def finish(self, offset: int) -> None:
        """The outcome of a record is durable. Raises ValueError for one that is not open."""
        if offset not in self._open:
            raise ValueError(f"offset {offset} was not started, or is finished")
        self._open.remove(offset)
        while self._started and self._started[0] not in self._open:
            self._started.popleft()

    @property
    def position(self) -> int:
        """Offset of the first record that is not done: what may be committed."""
        return self._started[0] if self._started else self._next

    @property
    def span(self) -> int:
        """Records from the low-water mark to the newest one received."""
        return len(self._started)
