"""Lanes: what keeps the order of a key while different keys run at the same time.

A lane holds the unfinished deliveries of one key of one partition, oldest first. Its head stays
until its outcome is durable, so nothing behind it can overtake it. Records without a key have no
order to keep: each is a lane of its own.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeAlias, TypeVar

LaneKey: TypeAlias = tuple[int, bytes | int]
"""Partition, and the record's key; the offset (a number, so never equal to a key) without one."""


class _Placed(Protocol):
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...


def lane_of(delivery: _Placed) -> LaneKey:
    """The lane that a delivery has to wait in."""
    return delivery.partition, delivery.offset if delivery.key is None else delivery.key


T = TypeVar("T")


class Lanes(Generic[T]):
    """All lanes of one assignment."""

    def __init__(self) -> None:
        self._lanes: dict[LaneKey, deque[T]] = {}

    def add(self, lane: LaneKey, item: T) -> bool:
        """Put an item at the end of its lane; True: it is the head, so it may run."""
        queue = self._lanes.get(lane)
        if queue is None:
            self._lanes[lane] = deque((item,))
            return True
        queue.append(item)
        return False

    def head(self, lane: LaneKey) -> T:
        """The oldest item. Raises KeyError for a lane that is empty."""
        return self._lanes[lane][0]

    def finish(self, lane: LaneKey) -> bool:
        """Take the head away; True: there is a next one, which may run now."""
        queue = self._lanes[lane]
        queue.popleft()
        if queue:
            return True
        del self._lanes[lane]
        return False
