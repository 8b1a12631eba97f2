"""The internal topic in memory, for the reader's tests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from kernel.errors import Unavailable

from router.domain.delivery import Delivery, Headers


class MemoryLetterTopic:
    """Partitions with records; each feed reads them by itself."""

    def __init__(self, *, partitions: int = 2) -> None:
        self.log: list[list[Delivery]] = [[] for _ in range(partitions)]
        self.first = [0] * partitions
        self.away: str | None = None

    def append(
        self, partition: int, headers: Headers, *, key: bytes | None = b"k", at_ms: int = 1_000
    ) -> int:
        """Add a record and return its offset."""
        offset = self.first[partition] + len(self.log[partition])
        record = Delivery(
            topic="dead-letters",
            partition=partition,
            offset=offset,
            timestamp_ms=at_ms,
            key=key,
            value=b"value",
            headers=headers,
            epoch=0,
        )
        self.log[partition].append(record)
        return offset

    def expire(self, partition: int, count: int) -> None:
        """Retention: the oldest records are gone."""
        del self.log[partition][:count]
        self.first[partition] += count

    def make_anew(self) -> None:
        """A topic of the same name, without a record."""
        self.log = [[] for _ in self.log]
        self.first = [0] * len(self.log)


class MemoryLetterFeed:
    """`LetterFeed` of a topic in memory, unless the topic's `away` names a reason."""

    def __init__(self, topic: MemoryLetterTopic) -> None:
        self._topic = topic
        self._offsets: dict[int, int] | None = None

    async def open(self) -> Mapping[int, tuple[int, int]]:
        self._require()
        self._offsets = {}
        return {number: self._span(number) for number in range(len(self._topic.log))}

    async def begin(self, offsets: Mapping[int, int]) -> None:
        self._offsets = dict(offsets)

    async def receive(self, *, wait_s: float, records_max: int) -> Mapping[int, Sequence[Delivery]]:
        self._require()
        await asyncio.sleep(0)
        found: dict[int, Sequence[Delivery]] = {}
        for number, offset in self._read().items():
            first, _ = self._span(number)
            begin = max(0, offset - first)
            records = self._topic.log[number][begin : begin + records_max]
            if records:
                found[number] = records
                self._read()[number] = records[-1].offset + 1
        return found

    async def ends(self) -> Mapping[int, int]:
        self._require()
        return {number: self._span(number)[1] for number in self._read()}

    async def close(self) -> None:
        self._offsets = None

    def _span(self, number: int) -> tuple[int, int]:
        first = self._topic.first[number]
        return first, first + len(self._topic.log[number])

    def _read(self) -> dict[int, int]:
        if self._offsets is None:
            raise Unavailable("the feed is not open")
        return self._offsets

    def _require(self) -> None:
        if self._topic.away is not None:
            raise Unavailable(self._topic.away)
