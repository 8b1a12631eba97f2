"""What every source promises, asked of memory, of our Kafka and of a customer's."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import pytest_asyncio
from catalog.events import StartAt
from kernel.errors import Unavailable
from router.domain.delivery import NO_TIME_MS
from router.domain.errors import PositionLost, StaleAssignment
from router.domain.low_water import Mark

from tests.support.router_sources import (
    WAIT_S,
    MemoryTopic,
    Reader,
    Topic,
    kafka_topic,
    reading,
)

MakeTopic = Callable[[int], AbstractAsyncContextManager[Topic]]


@pytest.fixture(params=["memory", "kafka", "customer_kafka"])
def make_topic(request: pytest.FixtureRequest) -> MakeTopic:
    """Makes a new topic with so many partitions."""
    if request.param == "memory":
        return _memory_topic
    kafka = request.getfixturevalue(request.param)
    return lambda partitions: kafka_topic(kafka, partitions)


@asynccontextmanager
async def _memory_topic(partitions: int) -> AsyncIterator[Topic]:
    yield MemoryTopic(partitions)


@pytest_asyncio.fixture(loop_scope="session")
async def topic(make_topic: MakeTopic) -> AsyncIterator[Topic]:
    """A topic with one partition."""
    async with make_topic(1) as made:
        yield made


async def test_records_come_whole_and_in_the_order_of_their_offsets(topic: Topic) -> None:
    await topic.append(b"one", key=b"k", headers=(("h", b"1"), ("h", b"2")))
    await topic.append(None, key=b"gone")
    await topic.append(b"", key=b"")
    async with reading(topic) as reader:
        first, second, third = await reader.read(3)
        assert (first.partition, first.offset, first.key, first.value) == (0, 0, b"k", b"one")
        assert first.headers == (("h", b"1"), ("h", b"2"))
        assert first.timestamp_ms > 0
        assert (second.offset, second.key, second.value) == (1, b"gone", None)
        assert (third.offset, third.key, third.value) == (2, b"", b"")
        assert {each.epoch for each in reader.deliveries} == {reader.epoch}


async def test_a_new_group_begins_at_the_beginning(topic: Topic) -> None:
    await topic.append(b"before")
    async with reading(topic) as reader:
        assert reader.positions == {0: 0}


async def test_the_start_at_the_end_counts_the_first_time_only(topic: Topic) -> None:
    await topic.append(b"before")
    source = topic.source(start=StartAt.LATEST)
    reader = Reader(source)
    try:
        await source.open(reader)
        await reader.until(lambda: reader.assignments)
        assert reader.positions == {0: 1}
        await source.close()
        assert await topic.committed() == 1, "settled before a record was handed out"
        await topic.append(b"while nobody read")
        await source.open(reader)
        await reader.read(1)
    finally:
        await source.close()
    assert reader.values == [b"while nobody read"]


@pytest.mark.parametrize("start", [StartAt.EARLIEST, StartAt.LATEST])
async def test_a_partition_that_is_added_is_read_from_its_beginning(
    make_topic: MakeTopic, start: StartAt
) -> None:
    async with make_topic(2) as topic:
        await topic.append(b"before the start")
        source = topic.source(start=start)
        reader = Reader(source)
        try:
            await source.open(reader)
            await reader.until(lambda: reader.assignments)
            await topic.grow(3)
            await topic.append(b"before anybody noticed", partition=2)
            await topic.notice(source)
            await reader.until(lambda: b"before anybody noticed" in reader.values)
            assert reader.positions[2] == 0
            assert reader.positions[0] == (0 if start is StartAt.EARLIEST else 1)
        finally:
            await source.close()


async def test_a_receive_without_records_is_empty(topic: Topic) -> None:
    async with reading(topic) as reader:
        assert list(await reader.source.receive(wait_s=0.01, records_max=10)) == []


async def test_never_more_records_than_asked_for(topic: Topic) -> None:
    for number in range(5):
        await topic.append(str(number).encode())
    async with reading(topic) as reader:
        async with asyncio.timeout(20):
            while len(reader.deliveries) < 5:
                some = await reader.source.receive(wait_s=0.5, records_max=2)
                assert len(some) <= 2
                reader.deliveries += some
        assert reader.values == [b"0", b"1", b"2", b"3", b"4"]


async def test_what_was_not_settled_comes_again(topic: Topic) -> None:
    for number in range(4):
        await topic.append(str(number).encode())
    async with reading(topic) as first:
        await first.read(4)
        await first.settle(2)
    assert await topic.committed() == 2
    async with reading(topic) as second:
        assert second.positions == {0: 2}
        await second.read(2)
        assert second.values == [b"2", b"3"]


async def test_what_is_finished_above_the_position_is_remembered(topic: Topic) -> None:
    for number in range(9):
        await topic.append(str(number).encode())
    async with reading(topic) as first:
        await first.read(9)
        await first.settle(2, (4, 4), (6, 8))
    async with reading(topic) as second:
        assert second.positions == {0: 2}
        assert second.finished == {0: ((4, 4), (6, 8))}


async def test_closing_settles_nothing(topic: Topic) -> None:
    await topic.append(b"one")
    async with reading(topic) as reader:
        await reader.read(1)
    assert await topic.committed() in (None, 0)


async def test_settling_again_is_harmless(topic: Topic) -> None:
    await topic.append(b"one")
    async with reading(topic) as reader:
        await reader.read(1)
        await reader.settle(1)
        await reader.settle(1)
    assert await topic.committed() == 1


async def test_of_settles_that_overlap_the_marks_of_the_last_one_stand(topic: Topic) -> None:
    await topic.append(b"0")
    await topic.append(b"1")
    async with reading(topic) as reader:
        await reader.read(2)
        await asyncio.gather(reader.settle(0, (1, 1)), reader.settle(1), reader.settle(2))
    assert await topic.committed() == 2


async def test_a_paused_partition_gives_nothing_and_loses_nothing(topic: Topic) -> None:
    await topic.append(b"0")
    async with reading(topic) as reader:
        await reader.read(1)
        reader.source.pause([0])
        await topic.append(b"1")
        for _ in range(5):
            assert list(await reader.source.receive(wait_s=0.05, records_max=10)) == []
        reader.source.resume([0])
        await reader.read(1)
        await topic.append(b"2")
        await reader.read(1)
        assert reader.values == [b"0", b"1", b"2"]


async def test_cancelling_a_receive_loses_nothing(topic: Topic) -> None:
    async with reading(topic) as reader:
        for number in range(5):
            receiving = asyncio.create_task(reader.source.receive(wait_s=5, records_max=10))
            await asyncio.sleep(0)
            await topic.append(str(number).encode())
            receiving.cancel()
            done, _ = await asyncio.wait({receiving}, timeout=10)
            if not receiving.cancelled():
                reader.deliveries += done.pop().result()
        await reader.until(lambda: len(reader.deliveries) >= 5)
        assert reader.values == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_stale_epoch_is_refused(topic: Topic) -> None:
    await topic.append(b"one")
    async with reading(topic) as reader:
        await reader.read(1)
        with pytest.raises(StaleAssignment):
            await reader.source.settle({0: Mark(position=1)}, epoch=reader.epoch - 1)
    assert await topic.committed() in (None, 0)


async def test_only_the_current_epoch_is_held(topic: Topic) -> None:
    async with reading(topic) as reader:
        assert reader.source.holds(epoch=reader.epoch)
        assert not reader.source.holds(epoch=reader.epoch - 1)
    assert not reader.source.holds(epoch=reader.epoch)


async def test_the_lag_counts_from_the_given_positions(topic: Topic) -> None:
    for number in range(3):
        await topic.append(str(number).encode())
    async with reading(topic) as reader:
        await reader.read(3)
        assert (await reader.source.lag({0: 0})).records == 3
        assert (await reader.source.lag({0: 1})).records == 2
        assert (await reader.source.lag({0: 3})).records == 0


async def test_offsets_that_hold_no_record_are_passed_once_all_before_them_is_done(
    topic: Topic,
) -> None:
    first = await topic.append_in_transaction(b"one")
    async with reading(topic) as reader:
        await reader.read(1)
        while not (lag := await reader.source.lag({0: first + 1})).passed:
            await reader.source.receive(wait_s=0.01, records_max=1)
        assert (lag.records, lag.passed) == (0, {0: first + 2})
        assert (await reader.source.lag({0: first})).passed == {}
        second = await topic.append_in_transaction(b"two")
        await reader.read(1)
        assert second == first + 2
        assert (await reader.source.lag({0: second})).passed == {}
        while not (lag := await reader.source.lag({0: second + 1})).passed:
            await reader.source.receive(wait_s=0.01, records_max=1)
        assert (lag.records, lag.passed) == (0, {0: second + 2})
        assert (await reader.source.lag({0: second + 2})).passed == {}


async def test_what_could_be_handed_out_and_was_not_is_told_apart(topic: Topic) -> None:
    await topic.append(b"0")
    async with reading(topic) as reader:
        await reader.read(1)
        assert (await reader.source.lag({0: 0})).receivable == 0
        await topic.append(b"1")
        async with asyncio.timeout(20):
            while (await reader.source.lag({0: 0})).receivable != 1:
                await asyncio.sleep(0)
        reader.source.pause([0])
        lag = await reader.source.lag({0: 0})
        assert (lag.records, lag.receivable) == (2, 0)
        reader.source.resume([0])
        await reader.read(1)
        assert (await reader.source.lag({0: 0})).receivable == 0


async def test_the_age_of_the_oldest_record_that_waits_counts_from_its_own_time(
    topic: Topic,
) -> None:
    await topic.append(b"old", timestamp_ms=int((time.time() - 3_600) * 1_000))
    await topic.append(b"new", timestamp_ms=int((time.time() - 60) * 1_000))
    async with reading(topic) as reader:
        await reader.read(2)
        assert 3_600 <= (await reader.source.lag({0: 0})).oldest_age_s < 3_660
        assert (await reader.source.lag({0: 2})).oldest_age_s == 0


async def test_a_record_without_a_time_is_not_taken_for_one_of_1970(topic: Topic) -> None:
    await topic.append(b"one", timestamp_ms=NO_TIME_MS)
    async with reading(topic) as reader:
        (record,) = await reader.read(1)
        assert record.timestamp_ms == NO_TIME_MS
        lag = await reader.source.lag({0: 0})
        assert (lag.records, lag.oldest_age_s < WAIT_S) == (1, True)


async def test_a_position_that_is_gone_is_never_skipped(topic: Topic) -> None:
    await topic.append(b"one")
    await topic.commit(77)
    source = topic.source()
    reader = Reader(source)
    try:
        await source.open(reader)
        with pytest.raises(PositionLost):
            await reader.read(1)
    finally:
        await source.close()
    assert reader.deliveries == []
    assert await topic.committed() == 77


async def test_records_that_are_gone_at_the_position_are_never_skipped(topic: Topic) -> None:
    for value in (b"gone", b"there"):
        await topic.append(value)
    await topic.commit(0)
    await topic.expire(1)
    source = topic.source()
    reader = Reader(source)
    try:
        await source.open(reader)
        with pytest.raises(PositionLost):
            await reader.read(1)
    finally:
        await source.close()
    assert (reader.deliveries, await topic.committed()) == ([], 0)


async def test_in_a_topic_of_ours_what_expired_is_passed_over_and_counted(topic: Topic) -> None:
    topic.be_ours()
    for number in range(6):
        await topic.append(b"%d" % number)
    async with reading(topic) as reader:
        await reader.read(6)
        await reader.settle(1, (2, 2))
    await topic.expire(4)
    async with reading(topic) as reader:
        await reader.read(2)
        assert (reader.values, reader.expired) == ([b"4", b"5"], 2)
        assert await topic.committed() == 4, "it is committed before anything is read"


async def test_what_expires_under_an_open_source_of_ours_is_passed_over_when_it_opens_again(
    topic: Topic,
) -> None:
    topic.be_ours()
    source = topic.source()
    reader = Reader(source)
    try:
        await source.open(reader)
        await reader.until(lambda: reader.assignments)
        source.pause([0])
        for _ in range(5):
            await topic.append(bytes(500_000))  # more than is fetched while it is paused
        await topic.expire(5)
        await topic.append(b"left")
        source.resume([0])
        with pytest.raises(Unavailable):
            await reader.until(lambda: b"left" in reader.values)
        await source.open(reader)
        await reader.until(lambda: b"left" in reader.values)
    finally:
        await source.close()
    assert (reader.values[-1], reader.expired) == (b"left", 5)


async def test_a_source_can_be_closed_early_and_twice_and_opened_again(topic: Topic) -> None:
    await topic.append(b"one")
    source = topic.source()
    await source.close()
    reader = Reader(source)
    for _ in range(2):
        await source.open(reader)
        await reader.read(1)
        await source.close()
        await source.close()
    assert reader.values == [b"one", b"one"]


async def test_a_waiting_receive_is_woken_by_a_record_at_once(topic: Topic) -> None:
    async with reading(topic) as reader:
        receiving = asyncio.create_task(reader.source.receive(wait_s=60, records_max=10))
        await asyncio.sleep(0)
        await topic.append(b"one")
        async with asyncio.timeout(10):
            assert [each.value for each in await receiving] == [b"one"]


async def test_a_waiting_receive_is_woken_by_a_resume(topic: Topic) -> None:
    async with reading(topic) as reader:
        reader.source.pause([0])
        for number in range(3):
            await topic.append(str(number).encode())
        reader.source.resume([0])
        reader.deliveries += await reader.source.receive(wait_s=60, records_max=1)
        reader.source.pause([0])
        receiving = asyncio.create_task(reader.source.receive(wait_s=60, records_max=10))
        await asyncio.sleep(0)
        reader.source.resume([0])
        async with asyncio.timeout(10):
            reader.deliveries += await receiving
        assert reader.values == [b"0", b"1", b"2"]


async def test_a_waiting_receive_is_woken_by_a_new_assignment(make_topic: MakeTopic) -> None:
    async with make_topic(2) as topic, reading(topic) as first:
        receiving = asyncio.create_task(first.source.receive(wait_s=60, records_max=10))
        await asyncio.sleep(0)
        async with reading(topic), asyncio.timeout(10):
            assert list(await receiving) == []


async def test_each_assignment_has_an_epoch_of_its_own(make_topic: MakeTopic) -> None:
    async with make_topic(2) as topic, reading(topic) as first:
        epochs = [first.epoch]
        async with reading(topic):
            await first.until(lambda: first.assignments == 2)
            epochs.append(first.epoch)
        await first.until(lambda: first.assignments == 3)
        epochs.append(first.epoch)
        assert epochs == sorted(set(epochs))


async def test_partitions_move_after_the_reader_has_let_go(make_topic: MakeTopic) -> None:
    async with make_topic(2) as topic:
        await topic.append(b"one")
        async with reading(topic) as first:
            await first.read(1)
            old_epoch = first.epoch

            async def settle_in_time() -> None:
                await first.source.settle({0: Mark(position=1)}, epoch=old_epoch)

            first.when_revoked = settle_in_time
            source = topic.source()
            second = Reader(source)
            try:
                await source.open(second)
                await asyncio.gather(
                    first.until(lambda: first.assignments == 2),
                    second.until(lambda: second.assignments),
                )
                assert first.revocations >= 1
                assert sorted([*first.positions, *second.positions]) == [0, 1]
                assert await topic.committed() == 1
                with pytest.raises(StaleAssignment):
                    await first.source.settle({0: Mark(position=0)}, epoch=old_epoch)
                await topic.append(b"two", partition=0)
                await topic.append(b"three", partition=1)
                await asyncio.gather(
                    first.until(lambda: len(first.deliveries) == 2),
                    second.until(lambda: len(second.deliveries) == 1),
                )
                assert {first.values[1], second.values[0]} == {b"two", b"three"}
            finally:
                first.when_revoked = None
                await source.close()
