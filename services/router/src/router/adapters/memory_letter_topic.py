"""A topic of dead letters in memory, and its feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from kernel.errors import Unavailable

from router.domain.dead_letter_mark import headers_of_mark, headers_of_own_mark, key_of_own_mark
from router.domain.dead_letter_record import Letter, LetterId, LetterState
from router.domain.delivery import Delivery, Headers

WINDOW_RECORDS = 3
"""Small, so that tests see more than one."""


class MemoryLetterTopic:
    """`LetterTopic` and `LetterMarks`, unless `away` names a reason; each feed reads it by itself.

    `append` is what a producer does.
    """

    def __init__(self, *, name: str = "dead-letters", partitions: int = 2) -> None:
        self._name = name
        self.log: list[list[Delivery]] = [[] for _ in range(partitions)]
        self.first = [0] * partitions
        self.away: str | None = None

    def append(
        self,
        partition: int,
        headers: Headers,
        *,
        key: bytes | None = b"k",
        value: bytes | None = b"value",
        at_ms: int = 1_000,
    ) -> LetterId:
        """Add a record; where it stands."""
        _, offset = self.span(partition)
        record = Delivery(
            topic=self._name,
            partition=partition,
            offset=offset,
            timestamp_ms=at_ms,
            key=key,
            value=value,
            headers=headers,
            epoch=0,
        )
        self.log[partition].append(record)
        return LetterId(partition=partition, offset=offset)

    def expire(self, partition: int, count: int) -> None:
        """Retention: the oldest records are gone."""
        del self.log[partition][:count]
        self.first[partition] += count

    def make_anew(self) -> None:
        """A topic of the same name, without a record."""
        self.log = [[] for _ in self.log]
        self.first = [0] * len(self.log)

    def span(self, partition: int) -> tuple[int, int]:
        """First offset and end."""
        first = self.first[partition]
        return first, first + len(self.log[partition])

    async def spans(self) -> Mapping[int, tuple[int, int]]:
        self.require()
        return {number: self.span(number) for number in range(len(self.log))}

    async def read(self, letter_id: LetterId) -> Delivery | None:
        for number, (first, end) in (await self.spans()).items():
            if number == letter_id.partition and first <= letter_id.offset < end:
                return self.log[number][letter_id.offset - first]
        return None

    async def backwards(self) -> AsyncGenerator[Sequence[Delivery], None]:
        upper = dict(await self.spans())
        while left := {number: span for number, span in upper.items() if span[0] < span[1]}:
            for number, (first, end) in left.items():
                begin = max(first, end - WINDOW_RECORDS)
                yield self.log[number][begin - first : end - first]
                upper[number] = (first, begin)

    async def forwards(
        self, spans: Mapping[int, tuple[int, int]]
    ) -> AsyncGenerator[Sequence[Delivery], None]:
        there = await self.spans()
        for number, (begin, end) in spans.items():
            first, last = there.get(number, (0, 0))
            begin = max(begin, first)
            while begin < min(end, last):
                self.require()
                upper = min(begin + WINDOW_RECORDS, end, last)
                yield self.log[number][begin - first : upper - first]
                begin = upper

    async def write(self, letter_id: LetterId, state: LetterState, *, task_id: str) -> None:
        self.require()
        headers = headers_of_mark(letter_id, state, task_id=task_id)
        self.append(letter_id.partition, headers, key=str(letter_id).encode(), value=None)

    async def write_own(
        self, letter: Letter, state: LetterState, *, topic: str, task_id: str
    ) -> None:
        self.require()
        headers = headers_of_own_mark(letter, state, topic=topic, task_id=task_id)
        partition = letter.letter_id.offset % len(self.log)
        self.append(partition, headers, key=key_of_own_mark(letter, topic=topic), value=None)

    async def close(self) -> None:
        """Nothing is held."""

    def require(self) -> None:
        """Raise Unavailable while it is away."""
        if self.away is not None:
            raise Unavailable(self.away)


class MemoryLetterFeed:
    """`LetterFeed` of a topic in memory, unless the topic's `away` names a reason."""

    def __init__(self, topic: MemoryLetterTopic) -> None:
        self._topic = topic
        self._offsets: dict[int, int] | None = None

    async def open(self) -> Mapping[int, tuple[int, int]]:
        self._offsets = {}
        return await self._topic.spans()

    async def begin(self, offsets: Mapping[int, int]) -> None:
        self._offsets = dict(offsets)

    async def receive(self, *, wait_s: float, records_max: int) -> Mapping[int, Sequence[Delivery]]:
        self._topic.require()
        await asyncio.sleep(0)
        found: dict[int, Sequence[Delivery]] = {}
        for number, offset in self._read().items():
            first, _ = self._topic.span(number)
            begin = max(0, offset - first)
            records = self._topic.log[number][begin : begin + records_max]
            if records:
                found[number] = records
                self._read()[number] = records[-1].offset + 1
        return found

    async def ends(self) -> Mapping[int, int]:
        self._topic.require()
        return {number: self._topic.span(number)[1] for number in self._read()}

    async def close(self) -> None:
        self._offsets = None

    def _read(self) -> dict[int, int]:
        if self._offsets is None:
            raise Unavailable("the feed is not open")
        return self._offsets
