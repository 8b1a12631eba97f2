"""Whose turn it is: queues are served one item each, in turn, so that a long one starves no other.

Of a queue the item of the lowest rank comes first. With the place in a partition as the rank, the
oldest head runs first: a busy key is not left behind by idle ones, the low-water mark follows close
behind, and little stands above it that has to be remembered. The price: a heap for each queue.

A queue that is empty costs nothing, so there may be one for each of a thousand partitions.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
Queue: TypeAlias = list[tuple[int, T]]


class Turns(Generic[T]):
    """Takes from queues that belong to others; only through here may anything enter or leave."""

    __slots__ = ("_ring", "count")

    def __init__(self) -> None:
        self._ring: deque[Queue[T]] = deque()
        """The queues that are not empty, the next one first."""
        self.count = 0

    def add(self, queue: Queue[T], rank: int, item: T) -> None:
        """Put an item into its queue, where no other has this rank."""
        if not queue:
            self._ring.append(queue)
        heappush(queue, (rank, item))
        self.count += 1

    def take(self) -> T:
        """The first item of the queue whose turn it is. Raises IndexError without any."""
        ring = self._ring
        queue = ring[0]
        item = heappop(queue)[1]
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
