"""A broker in memory: one topic, one consumer group, for tests that need no server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from catalog.events import StartAt

from router.domain.beginning import behind_expired
from router.domain.delivery import Headers
from router.domain.low_water import RANGES_MAX, Mark, Ranges

if TYPE_CHECKING:
    from router.adapters.memory_source import MemorySource


class MemoryRecord:
    """What a partition keeps at an offset."""

    __slots__ = ("headers", "key", "timestamp_ms", "value")

    def __init__(
        self, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int
    ) -> None:
        self.key = key
        self.value = value
        self.headers = headers
        self.timestamp_ms = timestamp_ms


class MemoryBroker:
    """Partitions with records, and the members and positions of a group.

    Members share the partitions in turn; each join and leave is an eager rebalance, as with Kafka.
    """

    def __init__(
        self, topic: str = "topic", *, partitions: int = 1, start: StartAt = StartAt.EARLIEST
    ) -> None:
        self.topic = topic
        self.start = start
        """Where the group begins the first time."""
        self._began = False
        self.log: list[dict[int, MemoryRecord]] = [{} for _ in range(partitions)]
        self.ends = [0] * partitions
        self.begins = [0] * partitions
        self.is_ours = False
        """Tests set True: members go on behind what expired, and count it."""
        self.committed: dict[int, int] = {}
        self.finished: dict[int, Ranges] = {}
        self.commits: list[dict[int, Mark]] = []
        self.ranges_max = RANGES_MAX
        self.unreadable: set[int] = set()
        """Partitions whose finished offsets nobody can read."""
        self.away: str | None = None
        """A reason: the broker cannot be reached."""
        self.silence: Callable[[], Awaitable[None]] | None = None
        """What whoever connects waits for before it gives up: the broker does not answer."""
        self._members: list[MemorySource] = []
        self._rebalancing = asyncio.Lock()
        self._epoch = 0

    def append(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int = 0,
        headers: Headers = (),
        gap: int = 0,
        timestamp_ms: int | None = None,
    ) -> int:
        """Add a record and return its offset; `gap` offsets before it stay empty (compaction)."""
        offset = self.ends[partition] + gap
        time_ms = 1_000 + offset if timestamp_ms is None else timestamp_ms
        self.log[partition][offset] = MemoryRecord(key, value, headers, time_ms)
        self.ends[partition] = offset + 1
        for member in self._members:
            member.wake()
        return offset

    def skip(self, partition: int = 0) -> None:
        """Add an offset that holds no record, as the end of a transaction does."""
        self.ends[partition] += 1
        for member in self._members:
            member.wake()

    def forget_below(self, end: int, partition: int = 0) -> None:
        """Forget the records of a partition below `end`."""
        self.begins[partition] = end
        for offset in [offset for offset in self.log[partition] if offset < end]:
            del self.log[partition][offset]

    def commit(self, marks: dict[int, Mark]) -> int:
        """Remember marks, and of each as many ranges as there is room for; how many were cut?"""
        for partition, mark in marks.items():
            self.committed[partition] = mark.position
            self.finished[partition] = mark.finished[: self.ranges_max]
        self.commits.append(dict(marks))
        return sum(len(mark.finished) > self.ranges_max for mark in marks.values())

    def grow(self, partitions: int) -> None:
        """Add partitions up to so many; the members learn of it at their next rebalance."""
        for _ in range(partitions - len(self.log)):
            self.log.append({})
            self.ends.append(0)
            self.begins.append(0)

    async def notice(self) -> None:
        """The members learn of partitions that were added."""
        async with self._rebalancing:
            await self._revoke_all()
            self._assign_all()

    async def join(self, member: MemorySource) -> None:
        """A member more; everybody is revoked first, then assigned."""
        async with self._rebalancing:
            await self._revoke_all()
            self._members.append(member)
            self._assign_all()

    async def leave(self, member: MemorySource) -> None:
        """A member less. Its own partitions are not revoked: it knows that it leaves."""
        if member not in self._members:
            return
        self._members.remove(member)
        async with self._rebalancing:
            await self._revoke_all()
            self._assign_all()

    async def expire(self, member: MemorySource) -> None:
        """The session of a member ends without its doing; it learns of it afterwards."""
        member.evict()
        async with self._rebalancing:
            await self._revoke_all()
            self._assign_all()

    async def _revoke_all(self) -> None:
        for member in self._members:
            await member.revoke()

    def _assign_all(self) -> None:
        self._epoch += 1
        if not self._began and self._members:
            self._began = True
            if self.start is StartAt.LATEST and not self.committed:
                self.committed.update(enumerate(self.ends))
        for index, member in enumerate(self._members):
            mine = range(index, len(self.log), len(self._members))
            marks = {p: self._mark(p) for p in mine}
            expired = self._pass_expired(marks) if self.is_ours else 0
            member.assign(
                marks,
                epoch=self._epoch,
                unreadable=len(self.unreadable & set(mine)),
                expired=expired,
            )

    def _pass_expired(self, marks: dict[int, Mark]) -> int:
        """Move marks behind what is gone, and say how much that is."""
        expired = 0
        for partition, mark in marks.items():
            if mark.position < self.begins[partition]:
                marks[partition], gone = behind_expired(mark, self.begins[partition])
                expired += gone
                self.commit({partition: marks[partition]})
        return expired

    def _mark(self, partition: int) -> Mark:
        position = self.committed.get(partition, 0)
        finished = () if partition in self.unreadable else self.finished.get(partition, ())
        return Mark(position=position, finished=finished)
