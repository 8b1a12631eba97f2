"""The contiguous low-water mark of one partition: up to where everything is done (promise 3).

Every record that is received gets the next number. Numbers are dense where offsets are not
(compaction, control records), so whether a record is done is one byte in an array, and the runs of
finished ones are found at the speed of `bytes.find`. Price: the caller keeps the number.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""First and last offset of each run of finished records, rising."""

RANGES_MAX: Final = 2_048
"""Ranges that a mark names; more never fit beside a commit (4,096 bytes in Kafka). What is left out
is done once more after a move."""
TRIM_RECORDS_MIN: Final = 4_096
"""Finished records below the mark that are forgotten at once, so that forgetting costs little."""
_OPEN, _DONE = b"\x00", b"\x01"


class Mark(NamedTuple):
    """How far a partition is done: below `position` all, and `finished` above it.

    A range may span offsets that hold no record. A tuple, as a delivery is: settling twelve
    partitions at full speed makes nearly 10,000 in a second.
    """

    position: int
    finished: Ranges = ()


class LowWater:
    """Follows which records were started and which are finished, from a mark on.

    Offsets that never come leave no hole: the mark moves from one started offset to the next one
    that was started.
    """

    __slots__ = ("_done", "_earlier", "_first", "_head", "_next", "_offsets", "version")

    def __init__(self, mark: Mark) -> None:
        self._offsets: list[int] = []
        self._done = bytearray()
        self._first = 0
        """Number of the record at index 0 of both."""
        self._head = 0
        """Index of the first record that is not done."""
        self._next = mark.position
        self._earlier = deque(mark.finished)
        self.version = 0
        """Rises whenever the mark changes."""

    def start(self, offset: int) -> int | None:
        """A record was received: its number. None: it was finished under another assignment.

        Raises ValueError unless offsets rise.
        """
        if offset < self._next:
            raise ValueError(f"offset {offset} comes after {self._next - 1}")
        self._next = offset + 1
        self._offsets.append(offset)
        number = self._first + len(self._done)
        if self._earlier and self._was_finished(offset):
            self._done.append(1)
            self._advance(number - self._first)
            return None
        self._done.append(0)
        return number

    def finish(self, number: int) -> None:
        """The outcome of a record is durable. Raises ValueError for one that is not open."""
        index = number - self._first
        if not self._head <= index < len(self._done) or self._done[index]:
            raise ValueError(f"record number {number} was not started, or is finished")
        self._done[index] = 1
        self._advance(index)

    def pass_to(self, offset: int) -> None:
        """Offsets below that were not started hold no record: with all done the mark stands there.

        One that is no further than the last one, or than what was started, changes nothing.
        """
        if offset > self._next:
            self._next = offset
            self.version += 1

    @property
    def position(self) -> int:
        """Offset of the first record that is not done: what may be committed."""
        return self._offsets[self._head] if self._head < len(self._offsets) else self._next

    @property
    def head(self) -> int:
        """Number of the first record that is not done, or that the next one will get."""
        return self._first + self._head

    @property
    def span(self) -> int:
        """Records from the low-water mark to the newest one received."""
        return len(self._offsets) - self._head

    def mark(self) -> Mark:
        """What has to be remembered, so that nothing that is finished is done again.

        Takes time by the number of ranges, not by the span.
        """
        ranges: list[tuple[int, int]] = []
        done, offsets = self._done, self._offsets
        begin = done.find(_DONE, self._head)
        while begin >= 0 and len(ranges) < RANGES_MAX:
            end = done.find(_OPEN, begin)
            last = end - 1 if end >= 0 else len(done) - 1
            ranges.append((offsets[begin], offsets[last]))
            begin = done.find(_DONE, end) if end >= 0 else -1
        # What was finished earlier and did not come again yet is still finished.
        ranges += [
            (max(first, self._next), last) for first, last in self._earlier if last >= self._next
        ]
        return Mark(position=self.position, finished=tuple(ranges[:RANGES_MAX]))

    def _was_finished(self, offset: int) -> bool:
        earlier = self._earlier
        while earlier and earlier[0][1] < offset:
            earlier.popleft()
        return bool(earlier) and offset >= earlier[0][0]

    def _advance(self, index: int) -> None:
        """The record at `index` is done: move the mark if it was the first that was not."""
        self.version += 1
        if index != self._head:
            return
        head = self._done.find(_OPEN, index)
        self._head = head = head if head >= 0 else len(self._done)
        if head >= TRIM_RECORDS_MIN:
            del self._offsets[:head], self._done[:head]
            self._first += head
            self._head = 0
