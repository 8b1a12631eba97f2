"""Keeps the index of dead letters equal to the internal topic.

Partition p is read by the worker that owns shard p, so every partition has one reader without a
second group; for the moments in which two believe so, the index refuses whoever expects another
position than the stored one. Nothing here is on a record's way: while Kafka or the database is
away, flows run on and the index waits.

The reader begins with the record *before* its position. Is it gone or another one, then the topic
is not the one that was read (made anew, or retention went past us), and the partition's part of the
index is made again from the beginning. The price: one record is read twice at each start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from kernel.backoff import delay_s
from kernel.errors import EventflowsError, VersionConflict

from router.application.shards import SHARDS
from router.dead_letter_ports import (
    LetterFeed,
    LetterFigures,
    LetterFold,
    LetterQueries,
    ReadPosition,
)
from router.domain.dead_letter_mark import fold
from router.domain.delivery import Delivery
from router.ports import Clock, Random

RECEIVE_WAIT_S: Final = 0.5
RECEIVE_RECORDS_MAX: Final = 500
LOOK_INTERVAL_S: Final = 15.0
"""Between two looks at lag, figures and age."""
EXPIRIES_MAX: Final = 20
"""Portions of old letters that leave the index at one look: reading waits meanwhile."""
IDLE_S: Final = 1.0
RETRY_FIRST_S: Final = 0.2
RETRY_LONGEST_S: Final = 10.0
FLOWS_MAX: Final = 20
"""Flows whose open letters are told apart in metrics."""
UNREADABLE_LOGGED_MAX: Final = 5
"""Of one batch; all are counted."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderStatus:
    """How the reader is doing; `problem` is empty while it reads. `lag_records` -1: not known."""

    partitions: frozenset[int] = frozenset()
    lag_records: int = -1
    unreadable_total: int = 0
    rebuilds_total: int = 0
    problem: str = ""
    figures: LetterFigures | None = None


class DeadLetterReader:
    """A part of the worker. `status` at any time."""

    def __init__(
        self,
        *,
        feed: LetterFeed,
        index: LetterFold,
        queries: LetterQueries,
        owned: Callable[[], frozenset[int]],
        clock: Clock,
        random: Random,
        retention_s: float,
    ) -> None:
        self._feed = feed
        self._index = index
        self._queries = queries
        self._owned = owned
        self._clock = clock
        self._random = random
        self._retention_s = retention_s
        self._positions: dict[int, ReadPosition | None] = {}
        self._unproven: dict[int, ReadPosition] = {}
        self._begins: dict[int, int] = {}
        self._unreadable_total = 0
        self._rebuilds_total = 0
        self._failures = 0
        self._problem = ""
        self._lag_records = -1
        self._figures: LetterFigures | None = None

    @property
    def positions(self) -> Mapping[int, int]:
        """Of each partition that this worker reads, the offset up to which the index knows it."""
        return {number: self._next(number) for number in self._positions}

    def status(self) -> ReaderStatus:
        """What a health page and metrics tell."""
        return ReaderStatus(
            partitions=frozenset(self._positions),
            lag_records=self._lag_records,
            unreadable_total=self._unreadable_total,
            rebuilds_total=self._rebuilds_total,
            problem=self._problem,
            figures=self._figures,
        )

    async def run(self) -> None:
        """Read for ever, also while Kafka or the database is away. Raises only CancelledError."""
        try:
            while True:
                try:
                    await self._read()
                except EventflowsError as error:
                    await self._back_off(error)
                except Exception as error:  # noqa: BLE001  a damaged record must not end the worker
                    _log.exception("the index of dead letters met what it does not know")
                    await self._back_off(EventflowsError(f"internal error: {type(error).__name__}"))
        finally:
            await self._feed.close()

    async def _read(self) -> None:
        """Read what is ours until that changes."""
        owned = self._owned()
        await self._index.prepare()
        spans = await self._feed.open()
        mine = {number: spans[number] for number in spans if number % SHARDS in owned}
        await self._begin(mine)
        looked_s = self._clock.monotonic_s() - LOOK_INTERVAL_S
        while self._owned() == owned:
            if not mine:
                self._works()
                await self._clock.sleep(IDLE_S)
                continue
            batches = await self._feed.receive(
                wait_s=RECEIVE_WAIT_S, records_max=RECEIVE_RECORDS_MAX
            )
            for partition, records in batches.items():
                await self._take(partition, records)
            self._works()
            if self._clock.monotonic_s() - looked_s >= LOOK_INTERVAL_S:
                looked_s = self._clock.monotonic_s()
                await self._look()

    async def _begin(self, spans: Mapping[int, tuple[int, int]]) -> None:
        """Find out where to read on; what cannot be read on from is made again."""
        stored = await self._index.positions()
        self._positions, self._unproven, self._begins = {}, {}, {}
        offsets: dict[int, int] = {}
        for number, (first, end) in spans.items():
            position = stored.get(number)
            self._begins[number] = first
            if position is not None and not first <= position.next_offset <= end:
                await self._forget(number, position)
                position = None
            self._positions[number] = position
            if position is None:
                offsets[number] = first
            elif position.next_offset > first:
                self._unproven[number] = position
                offsets[number] = position.next_offset - 1
            else:
                offsets[number] = position.next_offset
        self._lag_records, self._figures = -1, None
        await self._feed.begin(offsets)

    async def _take(self, partition: int, records: Sequence[Delivery]) -> None:
        """Put a batch into the index, with the position behind it."""
        unproven = self._unproven.pop(partition, None)
        if unproven is not None:
            before, *records = records
            if (before.offset + 1, before.timestamp_ms) != (unproven.next_offset, unproven.last_ms):
                await self._forget(partition, unproven)
                raise VersionConflict("the topic of dead letters was made anew")
            if not records:
                return
        folded = fold(records)
        last = records[-1]
        now = ReadPosition(next_offset=last.offset + 1, last_ms=last.timestamp_ms)
        await self._index.fold(partition, folded, expected=self._positions[partition], now=now)
        self._positions[partition] = now
        self._unreadable_total += len(folded.unreadable)
        for offset, why in folded.unreadable[:UNREADABLE_LOGGED_MAX]:
            _log.warning("dead-letters-%d@%d is no letter: %s", partition, offset, why)

    async def _forget(self, partition: int, position: ReadPosition) -> None:
        _log.warning("the index of partition %d of the dead letters is made again", partition)
        self._rebuilds_total += 1
        await self._index.forget(partition, expected=position)

    async def _look(self) -> None:
        """Measure, and drop what is older than the topic keeps it."""
        oldest = self._clock.now() - timedelta(seconds=self._retention_s)
        for _ in range(EXPIRIES_MAX):
            if not await self._index.expire(self._positions, written_before=oldest):
                break
        ends = await self._feed.ends()
        self._lag_records = sum(max(0, end - self._next(number)) for number, end in ends.items())
        self._figures = await self._queries.figures(self._positions, flows_max=FLOWS_MAX)

    def _next(self, partition: int) -> int:
        position = self._positions.get(partition)
        return self._begins[partition] if position is None else position.next_offset

    def _works(self) -> None:
        self._failures, self._problem = 0, ""

    async def _back_off(self, error: EventflowsError) -> None:
        """Wait before opening anew; two readers that meet for a moment are no trouble to tell."""
        self._failures += 1
        self._problem = error.message
        self._lag_records, self._figures = -1, None
        level = logging.INFO if isinstance(error, VersionConflict) else logging.WARNING
        _log.log(level, "the index of dead letters waits: %s", error.message)
        wait_s = delay_s(
            self._failures,
            first_s=RETRY_FIRST_S,
            longest_s=RETRY_LONGEST_S,
            random=lambda: self._random.uniform(0.0, 1.0),
        )
        await self._feed.close()
        await self._clock.sleep(wait_s)
