"""What waits for its time: one heap for all that back off, so that waiting costs no task each."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class DueQueue(Generic[T]):
    """Items by the time at which they are due; those of one time in the order of their coming."""

    __slots__ = ("_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_s(self) -> float | None:
        """When the earliest item is due; None without any."""
        return self._heap[0][0] if self._heap else None

    def add(self, due_s: float, item: T) -> bool:
        """Let an item wait; True: no other is due before it."""
        number = next(self._numbers)
        heappush(self._heap, (due_s, number, item))
        return self._heap[0][1] == number

    def take_due(self, now_s: float) -> list[T]:
        """Take away what is due by now, the earliest first."""
        due: list[T] = []
        while self._heap and self._heap[0][0] <= now_s:
            due.append(heappop(self._heap)[2])
        return due

    def hasten(self, due_s_of: Callable[[T], float | None]) -> None:
        """Let items be due earlier where that names an earlier time; takes time by the number of
        all."""
        for index, (due_s, number, item) in enumerate(self._heap):
            earlier_s = due_s_of(item)
            if earlier_s is not None and earlier_s < due_s:
                self._heap[index] = (earlier_s, number, item)
        heapify(self._heap)

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
