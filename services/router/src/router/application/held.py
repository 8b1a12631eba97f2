"""What an assignment holds, and which of its partitions are paused for that (promise 5)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from router.application.flow_parts import FlowParts
from router.application.work import NEVER, PartitionWork
from router.domain.gate import Gate

LOOK_AGAIN_PARTS: Final = 16
"""While partitions are paused, the limits are looked at again whenever such a part of what is held
is done: for each record it would cost more than the record."""


class Held:
    """Deliveries that are received and not done. Its assignment counts them itself: a call for each
    would cost more than the rest."""

    def __init__(self, partitions: Collection[PartitionWork], parts: FlowParts) -> None:
        self.records = 0
        self.bytes = 0
        self.grown: set[PartitionWork] = set()
        """Partitions of which something was received since the limits were looked at."""
        self.look_at = NEVER
        """With so few records left it is time to regulate."""
        self._partitions = partitions
        self._source = parts.source
        self._switch = parts.switch
        self._share = parts.share
        self._records_gate = Gate(parts.limits.records_held_max)
        self._bytes_gate = Gate(parts.limits.bytes_held_max)
        self._paused: set[int] = set()

    def regulate(self) -> None:
        """Pause and resume partitions by the switch and the limits of records, bytes and span."""
        self._share.hold(self.bytes)
        records_shut = self._records_gate.is_shut(self.records)
        bytes_shut = self._bytes_gate.is_shut(self.bytes)
        all_shut = self._share.is_over or not self._switch.receives
        grown, self.grown = self.grown, set()
        # Nearly always only the span of what was received can have come to its limit.
        if not (self._paused or records_shut or bytes_shut or all_shut) and not any(
            each.is_shut(records_shut=False, bytes_shut=False) for each in grown
        ):
            return
        shut = {
            each.number
            for each in self._partitions
            if each.is_shut(records_shut=records_shut, bytes_shut=bytes_shut) or all_shut
        }
        if shut != self._paused:
            self._source.resume(self._paused - shut)
            self._source.pause(shut - self._paused)
            self._paused = shut
        self.look_at = self.records - self.records // LOOK_AGAIN_PARTS if shut else NEVER
