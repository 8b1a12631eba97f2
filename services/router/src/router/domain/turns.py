"""Whose turn it is: queues are served one item each, in turn, so that a long one starves no other.

A queue that is empty costs nothing, so there may be one for each of a thousand partitions.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Takes from queues that belong to others; only through here may anything enter or leave."""

    __slots__ = ("_ring", "count")

    def __init__(self) -> None:
        self._ring: deque[deque[T]] = deque()
        """The queues that are not empty, the next one first."""
        self.count = 0

    def add(self, queue: deque[T], item: T) -> None:
        """Put an item at the end of its queue."""
        if not queue:
            self._ring.append(queue)
        queue.append(item)
        self.count += 1

    def add_first(self, queue: deque[T], item: T) -> None:
        """Put an item before all others of its queue."""
        if not queue:
            self._ring.append(queue)
        queue.appendleft(item)
        self.count += 1

    def take(self) -> T:
        """The first item of the queue whose turn it is. Raises IndexError without any."""
        ring = self._ring
        queue = ring[0]
        item = queue.popleft()
        self.count -= 1
        if not queue:
            ring.popleft()
        elif len(ring) > 1:
            ring.rotate(-1)
        return item

    def clear(self) -> None:
        """Forget everything."""
        for queue in self._ring:
            queue.clear()
        self._ring.clear()
        self.count = 0
