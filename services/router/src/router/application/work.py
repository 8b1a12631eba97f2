"""A delivery that is not done, and the partition that it came from."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final, Protocol

from catalog.events import DeliveryOrder

from router.application.limits import PumpLimits
from router.domain.dead_letter import DeadLetter, History
from router.domain.delivery import Delivery
from router.domain.gate import Gate
from router.domain.lanes import InLane, Lanes
from router.domain.low_water import LowWater, Mark
from router.domain.turns import Queue
from router.ports import DeliveryTrace

NEVER: Final = -1


@dataclass(slots=True, kw_only=True)
class Trial:
    """What the failed attempts of a delivery came to. Most deliveries have none."""

    history: History = field(default_factory=History)
    fitted: Counter[int] = field(default_factory=Counter)
    letter: DeadLetter | None = None
    letter_failures: int = 0
    not_before_s: float | None = None
    """If it backs off for the target's sake alone: when it may go on once the target is back."""


class Carried(Protocol):
    """What a courier carries from attempt to attempt."""

    delivery: Delivery
    began_s: float
    trial: Trial | None
    trace: DeliveryTrace | None


class Work(InLane):
    """One for each delivery, so it is made of little: no dataclass, no dictionary."""

    __slots__ = ("began_s", "delivery", "held_bytes", "partition", "place", "trace", "trial")

    def __init__(self, delivery: Delivery, partition: PartitionWork, place: int) -> None:
        self.lane = None
        self.behind = None
        self.delivery = delivery
        self.partition = partition
        self.place = place
        """Its number in the partition's low-water mark."""
        self.held_bytes = delivery.held_bytes
        self.began_s = 0.0
        """When its first attempt began; means nothing before."""
        self.trial: Trial | None = None
        self.trace: DeliveryTrace | None = None


class PartitionWork:
    """One partition under one assignment: its lanes, its mark, what is held of it."""

    __slots__ = (
        "_bytes_gate",
        "_receipts",
        "_records_gate",
        "_span_gate",
        "begun_max",
        "bytes_held",
        "lanes",
        "low_water",
        "number",
        "ready",
        "records_held",
        "repeats_below",
        "settled_version",
    )

    def __init__(
        self,
        number: int,
        mark: Mark,
        *,
        order: DeliveryOrder,
        limits: PumpLimits,
        parts: int,
        begun_max: int,
    ) -> None:
        """`parts`: among how many partitions the flow's limits are shared. `begun_max`: the highest
        offset that this pump has begun before, under another assignment."""
        self.number = number
        self.low_water = LowWater(mark)
        self.settled_version = self.low_water.version
        self.lanes: Lanes[Work] = Lanes(order)
        self.ready: Queue[Work] = []
        self.records_held = 0
        self.bytes_held = 0
        self.begun_max = begun_max
        newest_finished = mark.finished[-1][1] if mark.finished else NEVER
        self.repeats_below = max(begun_max, newest_finished) + 1
        """What is below it and not finished may have been begun by an earlier owner."""
        self._span_gate = Gate(limits.span_records_max)
        self._records_gate = Gate(max(1, limits.records_held_max // parts))
        self._bytes_gate = Gate(max(1, limits.bytes_held_max // parts))
        self._receipts: deque[tuple[int, float]] = deque()
        """Place and time of the first record of each batch that is not done."""

    def note_receipt(self, now_s: float) -> None:
        """The next records to be started were received now."""
        receipts, low_water = self._receipts, self.low_water
        head = low_water.head
        while len(receipts) > 1 and receipts[1][0] <= head:
            receipts.popleft()
        if not low_water.span:
            receipts.clear()
        receipts.append((head + low_water.span, now_s))

    def oldest_s(self) -> float | None:
        """When the record at the low-water mark was received; None: all are done."""
        if not self.low_water.span:
            return None
        head = self.low_water.head
        return max((at_s for place, at_s in self._receipts if place <= head), default=None)

    def is_shut(self, *, records_shut: bool, bytes_shut: bool) -> bool:
        """Shall nothing more be received of it? The arguments say which limit the flow is at.

        At a limit of the flow those partitions stop that hold their fair part of it, so that one
        that is stuck does not starve the others.
        """
        has_its_records = self._records_gate.is_shut(self.records_held)
        has_its_bytes = self._bytes_gate.is_shut(self.bytes_held)
        return (
            self._span_gate.is_shut(self.low_water.span)
            or (records_shut and has_its_records)
            or (bytes_shut and has_its_bytes)
        )
