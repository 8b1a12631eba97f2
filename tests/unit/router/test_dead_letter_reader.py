"""The index follows the topic, whatever happens to the reader, the topic and the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel.errors import Unavailable
from router.adapters.memory_letter_index import MemoryLetterIndex
from router.adapters.memory_letter_topic import MemoryLetterFeed, MemoryLetterTopic
from router.adapters.system_clock import SystemClock
from router.application import dead_letter_reader
from router.application.dead_letter_reader import DeadLetterReader
from router.application.shards import SHARDS
from router.domain.dead_letter_mark import headers_of_mark
from router.domain.dead_letter_record import LetterId, LetterState

from tests.support.dead_letter_stage import Stage
from tests.support.letters import START, letter_headers
from tests.support.manual_clock import until
from tests.support.router_flows import delivery
from tests.support.router_pumps import BROKEN, running_pump

ALL_SHARDS = frozenset(range(SHARDS))
KEPT_S = 1e9
START_MS = int(START.timestamp() * 1_000)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_reader, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(dead_letter_reader, "RETRY_LONGEST_S", 0.01)
    monkeypatch.setattr(dead_letter_reader, "LOOK_INTERVAL_S", 0.0)


def reader_of(
    topic: MemoryLetterTopic,
    index: MemoryLetterIndex,
    *,
    owned: Callable[[], frozenset[int]] = lambda: ALL_SHARDS,
    retention_s: float = KEPT_S,
) -> DeadLetterReader:
    return DeadLetterReader(
        feed=MemoryLetterFeed(topic),
        index=index,
        queries=index,
        owned=owned,
        clock=SystemClock(),
        random=Random(1),
        retention_s=retention_s,
    )


@asynccontextmanager
async def running(reader: DeadLetterReader) -> AsyncIterator[None]:
    task = asyncio.create_task(reader.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def read_to_the_end(reader: DeadLetterReader, topic: MemoryLetterTopic) -> Callable[[], bool]:
    ends = {number: topic.first[number] + len(log) for number, log in enumerate(topic.log)}

    return lambda: reader.positions == ends


def add_letter(topic: MemoryLetterTopic, partition: int = 0) -> LetterId:
    return topic.append(partition, letter_headers(delivery()), at_ms=START_MS)


def add_mark(topic: MemoryLetterTopic, letter_id: LetterId, state: LetterState) -> None:
    topic.append(letter_id.partition, headers_of_mark(letter_id, state, task_id="t"))


async def test_letters_and_marks_come_into_the_index() -> None:
    topic, index = MemoryLetterTopic(), MemoryLetterIndex()
    first, second = add_letter(topic, 0), add_letter(topic, 1)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(read_to_the_end(reader, topic))
        add_mark(topic, first, LetterState.PURGED)
        await until(lambda: index.letters[first].state is LetterState.PURGED)
    assert index.letters[second].state is LetterState.OPEN
    assert reader.status().problem == ""


async def test_a_reader_reads_only_the_partitions_of_its_shards() -> None:
    topic, index = MemoryLetterTopic(), MemoryLetterIndex()
    add_letter(topic, 0)
    mine = add_letter(topic, 1)
    owned = frozenset({1, 5})
    reader = reader_of(topic, index, owned=lambda: owned)
    async with running(reader):
        await until(lambda: mine in index.letters)
        assert list(index.letters) == [mine]
        assert reader.status().partitions == {1}
        owned = ALL_SHARDS
        await until(lambda: len(index.letters) == 2)


async def test_damaged_and_foreign_records_are_counted_and_passed_over() -> None:
    topic, index = MemoryLetterTopic(), MemoryLetterIndex()
    topic.append(0, ())
    topic.append(0, (("ef-dl-flow", b"f"),))
    topic.append(0, (("ef-dl-mark", b"redriven"), ("ef-dl-letter", b"0-9")))
    good = dict(letter_headers(delivery()))
    damaged = (
        {"ef-dl-offset": b"-1"},
        {"ef-dl-offset": b"9" * 30},
        {"ef-dl-partition": "\u0663".encode()},
        {"ef-dl-last-at": b"yesterday"},
        {"ef-dl-last-at": b"2026-11-30T12:00:00"},
        {"ef-dl-last-at": b"0001-01-01T00:00:00+23:00"},
        {"ef-dl-first-at": b"9999-12-31T23:59:59-23:00"},
        {"ef-dl-timestamp-ms": b"x"},
        {"ef-dl-timestamp-ms": b"9" * 19},
        {"ef-dl-flow": b""},
        {"ef-dl-attempts": b"99999999999"},
        {"ef-dl-mark": b"gone"},
    )
    for change in damaged:
        topic.append(0, tuple((good | change).items()))
    last = add_letter(topic, 0)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(lambda: last in index.letters)
    assert list(index.letters) == [last]
    assert reader.status().unreadable_total == 3 + len(damaged)


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning() -> None:
    topic, index = MemoryLetterTopic(), MemoryLetterIndex()
    for _ in range(3):
        add_letter(topic)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(read_to_the_end(reader, topic))
    topic.make_anew()
    for _ in range(5):  # longer than the old one: only the record before the position can tell
        topic.append(0, letter_headers(delivery(9)), at_ms=START_MS + 77)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(read_to_the_end(reader, topic))
        await until(lambda: len(index.letters) == 5)
    assert {letter.source_offset for letter in index.letters.values()} == {9}
    assert reader.status().rebuilds_total == 1


@pytest.mark.parametrize("records", [0, 2])
async def test_a_topic_that_is_shorter_than_the_position_is_read_again(records: int) -> None:
    topic, index = MemoryLetterTopic(), MemoryLetterIndex()
    for _ in range(3):
        add_letter(topic)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(read_to_the_end(reader, topic))
    topic.make_anew()
    for _ in range(records):
        add_letter(topic)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(lambda: len(index.letters) == records)
        await until(read_to_the_end(reader, topic))


async def test_a_position_that_retention_has_passed_is_made_again() -> None:
    topic, index = MemoryLetterTopic(), MemoryLetterIndex()
    for _ in range(3):
        add_letter(topic)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(read_to_the_end(reader, topic))
    add_letter(topic)
    last = add_letter(topic)
    topic.expire(0, 4)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(lambda: list(index.letters) == [last])


async def test_letters_older_than_the_retention_leave_the_index() -> None:
    topic, index = MemoryLetterTopic(), MemoryLetterIndex()
    topic.append(0, letter_headers(delivery()), at_ms=1)
    young = add_letter(topic)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(lambda: list(index.letters) == [young])


class OneByOne(MemoryLetterIndex):
    """Drops one old letter at each call: a portion that is smaller than what is old."""

    async def expire(self, partitions: Iterable[int], *, written_before: datetime) -> int:
        for letter_id in list(self.letters)[:1]:
            del self.letters[letter_id]
            return 1
        return 0


async def test_old_letters_leave_the_index_as_fast_as_they_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead_letter_reader, "LOOK_INTERVAL_S", 3_600.0)
    topic, index = MemoryLetterTopic(), OneByOne()
    for _ in range(5):
        add_letter(topic, 0)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(lambda: reader.positions.get(0) == 5)
        await until(lambda: not index.letters)


async def test_while_database_or_topic_are_away_it_waits_and_goes_on() -> None:
    topic, index = MemoryLetterTopic(), MemoryLetterIndex()
    index.away = "no database"
    letter = add_letter(topic)
    reader = reader_of(topic, index)
    async with running(reader):
        await until(lambda: reader.status().problem == "no database")
        index.away, topic.away = None, "no Kafka"
        await until(lambda: reader.status().problem == "no Kafka")
        topic.away = None
        await until(lambda: letter in index.letters and reader.status().problem == "")
        await until(lambda: reader.status().lag_records == 0)
        figures = reader.status().figures
        assert figures is not None
        assert figures.by_flow == {"flow-1": 1}


async def test_flows_go_on_and_write_letters_while_the_database_of_the_index_is_away() -> None:
    stage = Stage()
    stage.index.away = "no database"
    async with running(stage.reader), running_pump(dead_letters=stage) as bench:
        await until(lambda: stage.reader.status().problem == "no database")
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"bad", key=b"k")
        bench.broker.append(b"behind", key=b"k")
        await bench.until_committed(2)
        assert bench.target.values == [b"bad", b"behind"]
        assert [letter.value for letter in stage.topic.log[1]] == [b"bad"]
        assert stage.index.letters == {}
        stage.index.away = None
        await until(lambda: len(stage.index.letters) == 1)


async def test_two_readers_of_one_partition_agree() -> None:
    topic, index = MemoryLetterTopic(), MemoryLetterIndex()
    one, other = reader_of(topic, index), reader_of(topic, index)
    async with running(one), running(other):
        letters = [add_letter(topic, number % 2) for number in range(20)]
        add_mark(topic, letters[0], LetterState.REDRIVEN)
        await until(lambda: len(index.letters) == 20)
        await until(lambda: index.letters[letters[0]].state is LetterState.REDRIVEN)


class Stumbling(MemoryLetterIndex):
    """Fails at the given calls, before or after it did what was asked."""

    def __init__(self, failures: list[bool | None]) -> None:
        super().__init__()
        self._failures = failures

    async def fold(self, *given: object, **named: object) -> None:
        after = self._failures.pop() if self._failures else None
        if after is False:
            raise Unavailable("killed before the step")
        await super().fold(*given, **named)  # type: ignore[arg-type]
        if after is True:
            raise Unavailable("killed after the step")


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["letter", "letter", "redriven", "died_again", "purged", "foreign"]),
        st.integers(0, 30),
    ),
    max_size=40,
)


@settings(deadline=None)  # the reader pauses after each failure
@given(STEPS, st.lists(st.sampled_from([None, False, True]), max_size=12), st.integers(0, 40))
async def test_what_grew_through_failures_equals_what_is_made_again(
    steps: list[tuple[int, str, int]], failures: list[bool | None], pause: int
) -> None:
    """Letters and marks in any order, with a reader that is killed between any two steps."""
    topic, grown, again = MemoryLetterTopic(), Stumbling(failures), MemoryLetterIndex()
    reader = reader_of(topic, grown)
    for number, (partition, what, offset) in enumerate(steps):
        if what == "letter":
            add_letter(topic, partition)
        elif what == "foreign":
            topic.append(partition, (("other", b""),))
        else:
            add_mark(topic, LetterId(partition=partition, offset=offset), LetterState(what))
        if number == pause:
            async with running(reader):
                await until(read_to_the_end(reader, topic))
            reader = reader_of(topic, grown)
    for one, index in ((reader, grown), (reader_of(topic, again), again)):
        async with running(one):
            await until(read_to_the_end(one, topic))
        assert await index.positions() == await grown.positions()
    assert again.letters == grown.letters
