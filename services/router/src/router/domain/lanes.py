"""Lanes: what keeps an order while everything else runs at the same time.

A lane holds the unfinished deliveries of one partition that have an order among themselves, oldest
first: those of one key, or all of them, or, without an order to keep, a single one. Its head stays
until its outcome is durable, so nothing behind it can overtake it.

    key order         one lane a key; a record without a key is a lane of its own
    partition order   one lane
    none              each record is a lane of its own

A lane is a chain of its items; kept are the ends of the chains, no queue for each.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

from catalog.events import DeliveryOrder

_WHOLE_PARTITION: Final = b""


class InLane:
    """What can stand in a lane. Both fields belong to `Lanes`."""

    __slots__ = ("behind", "lane")

    def __init__(self) -> None:
        self.lane: bytes | None = None
        self.behind: Any = None


T = TypeVar("T", bound=InLane)


class Lanes(Generic[T]):
    """The lanes of one partition under one assignment."""

    __slots__ = ("_by_key", "_ends", "_one_lane")

    def __init__(self, order: DeliveryOrder) -> None:
        self._by_key = order is DeliveryOrder.KEY
        self._one_lane = order is DeliveryOrder.PARTITION
        self._ends: dict[bytes, T] = {}

    def __len__(self) -> int:
        """Lanes with an order to keep that are not empty."""
        return len(self._ends)

    def add(self, item: T, key: bytes | None) -> bool:
        """Put an item at the end of its lane; True: it is the head, so it may run."""
        lane = key if self._by_key else _WHOLE_PARTITION if self._one_lane else None
        if lane is None:
            return True
        item.lane = lane
        end = self._ends.get(lane)
        self._ends[lane] = item
        if end is None:
            return True
        end.behind = item
        return False

    def finish(self, head: T) -> T | None:
        """Take a head away; the next one of its lane, which may run now, or None."""
        follower: T | None = head.behind
        if follower is None and head.lane is not None:
            del self._ends[head.lane]
        return follower
