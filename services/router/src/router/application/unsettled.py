"""What an assignment has done and not settled yet, and how it is settled.

Settles may overlap: the source lets the last one's marks stand. What one that failed was to settle
counts as changed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from router.application.flow_parts import FlowParts
from router.application.work import NEVER, PartitionWork
from router.ports import DeliveryTrace

TRACED_MAX: Final = 1_000
"""Traced deliveries whose settling is told, of those that one settle settles: the newest ones."""


class Unsettled:
    """`settle_soon` is to be called when `records` comes to `records_max`. Its assignment counts
    them itself: a call for each would cost more than the rest."""

    def __init__(
        self,
        partitions: Collection[PartitionWork],
        *,
        epoch: int,
        parts: FlowParts,
        settle_soon: Callable[[], None],
    ) -> None:
        self.records = 0
        """Deliveries that were finished since the last settle began."""
        self.records_max = parts.limits.commit_records_max
        self.settle_soon = settle_soon
        self.traced: deque[DeliveryTrace] = deque(maxlen=TRACED_MAX)
        self._partitions = partitions
        self._epoch = epoch
        self._source = parts.source
        self._board = parts.board
        self._clock = parts.clock
        self._settles: set[asyncio.Future[None]] = set()
        """One for each settle that runs."""
        self.is_ending = False
        """Has `settle_rest` begun? Then nobody else settles: it would wait for each of them."""

    async def settle(self) -> bool:
        """Settle the marks that changed since the last settle began; were there any?

        Raises what `Source.settle` raises.
        """
        changed = [
            each for each in self._partitions if each.low_water.version != each.settled_version
        ]
        if not changed:
            return False
        marks = {each.number: each.low_water.mark() for each in changed}
        for each in changed:
            each.settled_version = each.low_water.version
        self.records = 0
        traced, self.traced = self.traced, deque(maxlen=TRACED_MAX)
        began = self._clock.now()
        ended = asyncio.get_running_loop().create_future()
        self._settles.add(ended)
        try:
            cut = await self._source.settle(marks, epoch=self._epoch)
            self._board.commit_metadata_cut_total += cut
        except BaseException:
            for each in changed:
                each.settled_version = NEVER
            self.traced = deque([*traced, *self.traced], maxlen=TRACED_MAX)
            raise
        finally:
            self._settles.discard(ended)
            ended.set_result(None)
        for trace in traced:
            trace.settled(began=began, ended=self._clock.now())
        return True

    async def settle_rest(self, *, until_s: float) -> bool:
        """After the settles that run, settle what is left; those that still run at `until_s` count
        as failed."""
        self.is_ending = True
        timer = asyncio.create_task(self._clock.sleep(until_s - self._clock.monotonic_s()))
        try:
            while self._settles and not timer.done():
                await asyncio.wait({*self._settles, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if self._settles:
            for each in self._partitions:
                each.settled_version = NEVER
        return await self.settle()
