"""A source on a broker in memory; it keeps every promise of the port."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence

from kernel.errors import Unavailable

from router.adapters.memory_broker import MemoryBroker
from router.domain.delivery import NO_TIME_MS, Delivery
from router.domain.errors import PositionLost, StaleAssignment
from router.domain.lag import Lag
from router.domain.low_water import Mark
from router.ports import AssignmentListener


class MemorySource:
    """One member of the broker's group."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._listener: AssignmentListener | None = None
        self._next: dict[int, int] = {}
        self._paused: set[int] = set()
        self._receiving: int | None = None
        self._settling: int | None = None
        self._wake = asyncio.Event()
        self.confirmed = True
        """Tests set False: the broker has not answered for a session timeout."""
        self.damaged = False
        """Tests set True: there is a record that cannot be read."""
        self.hung = False
        """Tests set True: it hands out nothing, although there are records."""
        self.settle_failures = 0
        """So many calls of `settle` fail from now on."""
        self.settles = asyncio.Event()
        """Tests clear it: the broker takes its time with what is settled."""
        self.settles.set()
        self.settles_begun = 0
        self._in_order = asyncio.Lock()
        self.polls = 0
        self.opened = 0

    async def open(self, listener: AssignmentListener) -> None:
        await self.close()
        self._check_reachable()
        if self._broker.silence is not None:
            await self._broker.silence()
            raise Unavailable("the broker does not answer")
        self._listener = listener
        self.opened += 1
        await self._broker.join(self)

    async def receive(self, *, wait_s: float, records_max: int) -> Sequence[Delivery]:
        self._check_reachable()
        self.polls += 1
        if self.damaged and self._receiving is not None:
            raise Unavailable("a record cannot be read")
        deliveries = self._take(records_max)
        if not deliveries:
            self._wake.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                return ()
            deliveries = self._take(records_max)
        return deliveries

    async def settle(self, marks: Mapping[int, Mark], *, epoch: int) -> int:
        self._check_reachable()
        if epoch != self._settling:
            raise StaleAssignment("the partitions were given to somebody else")
        self.settles_begun += 1
        fails = self.settle_failures > 0
        self.settle_failures -= fails
        async with self._in_order:
            await self.settles.wait()
            if fails:
                raise Unavailable("cannot commit")
            return self._broker.commit(dict(marks))

    def pause(self, partitions: Iterable[int]) -> None:
        self._paused |= set(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        self._paused -= set(partitions)
        self._wake.set()

    def holds(self, *, epoch: int) -> bool:
        return epoch == self._receiving and self.confirmed

    async def lag(self, positions: Mapping[int, int]) -> Lag:
        self._check_reachable()
        log, ends = self._broker.log, self._broker.ends
        passed = {
            p: self._next[p]
            for p, position in positions.items()
            if log[p].keys().isdisjoint(range(position, self._next.get(p, position)))
            and self._next.get(p, position) > position
        }
        begins = {**positions, **passed}
        times_ms = [
            next((r.timestamp_ms for o, r in log[p].items() if o >= begin), NO_TIME_MS)
            for p, begin in begins.items()
        ]
        oldest_ms = min((time_ms for time_ms in times_ms if time_ms != NO_TIME_MS), default=None)
        age_s = 0.0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1_000)
        waiting = sum(ends[p] - begin for p, begin in begins.items())
        receivable = sum(
            ends[p] - self._next.get(p, begin)
            for p, begin in begins.items()
            if p not in self._paused
        )
        return Lag(records=waiting, oldest_age_s=age_s, receivable=receivable, passed=passed)

    async def close(self) -> None:
        self._receiving = self._settling = None
        await self._broker.leave(self)

    # The broker's side ----------------------------------------------------------------------------

    def wake(self) -> None:
        """There are records."""
        self._wake.set()

    def evict(self) -> None:
        """Membership is gone: whatever is settled from now on is refused."""
        self._settling = None

    async def revoke(self) -> None:
        """Tell the reader, then let go."""
        self._receiving = None
        if self._listener is not None:
            await self._listener.on_revoked()
        self._settling = None

    def assign(self, marks: dict[int, Mark], *, epoch: int, unreadable: int, expired: int) -> None:
        """Begin anew."""
        assert self._listener is not None
        self._next = {partition: mark.position for partition, mark in marks.items()}
        self._paused.clear()
        self._receiving = self._settling = epoch
        self._listener.on_assigned(marks, epoch=epoch, unreadable=unreadable, expired=expired)
        self._wake.set()

    def _check_reachable(self) -> None:
        if self._broker.away is not None:
            raise Unavailable(self._broker.away)

    def _take(self, records_max: int) -> list[Delivery]:
        epoch = self._receiving
        if epoch is None or self.hung:
            return []
        deliveries: list[Delivery] = []
        for partition in self._next.keys() - self._paused:
            deliveries += self._take_from(partition, records_max - len(deliveries), epoch)
        return deliveries

    def _take_from(self, partition: int, records_max: int, epoch: int) -> list[Delivery]:
        log, end = self._broker.log[partition], self._broker.ends[partition]
        begin = self._broker.begins[partition]
        if self._next[partition] < begin and self._broker.is_ours:
            raise Unavailable(f"the records of partition {partition} before {begin} have expired")
        if self._next[partition] < begin:
            raise PositionLost(f"partition {partition} begins at {begin}")
        if self._next[partition] > end:
            raise PositionLost(f"partition {partition} ends at {end}")
        deliveries: list[Delivery] = []
        while self._next[partition] < end and len(deliveries) < records_max:
            offset = self._next[partition]
            self._next[partition] += 1
            record = log.get(offset)
            if record is not None:
                deliveries.append(
                    Delivery(
                        topic=self._broker.topic,
                        partition=partition,
                        offset=offset,
                        timestamp_ms=record.timestamp_ms,
                        key=record.key,
                        value=record.value,
                        headers=record.headers,
                        epoch=epoch,
                    )
                )
        return deliveries
