"""The low-water mark, and what moves and crashes repeat."""

import asyncio
from dataclasses import replace

from router.adapters.memory_broker import MemoryBroker
from router.adapters.memory_source import MemorySource
from router.application.settles import SETTLES_MAX
from router.domain.low_water import Mark

from tests.support.manual_clock import let_others_run, until
from tests.support.router_pumps import (
    TEST_LIMITS,
    Joiner,
    running_pump,
)


async def test_promise_3_the_commit_is_the_contiguous_low_water_mark() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"2")
        for number in range(5):
            bench.broker.append(str(number).encode(), gap=2)
        await bench.until_settled(4)
        await bench.until_committed(8)
        await bench.target.let_go(b"2")
        await bench.until_committed(15)


async def test_promise_3_a_topic_at_rest_is_settled_to_its_end_also_where_that_is_no_record() -> (
    None
):
    async with running_pump() as bench:
        bench.target.hold(b"0")
        bench.broker.append(b"0")
        bench.broker.skip()
        await bench.target.until_runs(1)
        await bench.clock.run_until(lambda: bench.pump.status().lag_records == 2)
        assert not bench.broker.committed
        await bench.target.let_go(b"0")
        await bench.until_committed(2)
        bench.broker.skip()
        await bench.until_committed(3)
        bench.broker.append(b"1")
        await bench.until_committed(4)
        assert bench.target.values == [b"0", b"1"]


async def test_promise_3_what_ended_above_the_mark_is_not_done_again() -> None:
    broker = MemoryBroker()
    async with running_pump(broker=broker) as first:
        first.target.hold(b"0", b"3")
        for number in range(5):
            broker.append(str(number).encode())
        await first.until_settled(3)
        stopping = asyncio.create_task(first.pump.stop(grace_s=1))
        await first.clock.run_until(stopping.done)
    assert broker.committed == {0: 0}
    async with running_pump(broker=broker) as second:
        await second.until_committed(5)
        assert second.target.values == [b"0", b"3"]


async def test_promise_3_a_move_waits_for_running_calls_and_settles_them() -> None:
    broker = MemoryBroker(partitions=2)
    async with running_pump(broker=broker) as bench:
        bench.target.hold(b"running")
        broker.append(b"running", key=b"k")
        broker.append(b"behind", key=b"k")
        await bench.target.until_runs(1)
        second = MemorySource(broker)
        joining = asyncio.create_task(second.open(Joiner()))
        await let_others_run()
        assert not joining.done(), "partitions move only when running calls have ended"
        await bench.target.let_go(b"running")
        await joining
        assert broker.committed == {0: 1}
        await bench.until_settled(2)
        assert bench.target.values == [b"running", b"behind"]
        await second.close()


async def test_promise_3_a_move_waits_no_longer_than_the_drain_bound() -> None:
    broker = MemoryBroker(partitions=2)
    async with running_pump(broker=broker) as bench:
        bench.target.hold(b"stuck")
        broker.append(b"stuck")
        await bench.target.until_runs(1)
        second = MemorySource(broker)
        joining = asyncio.create_task(second.open(Joiner()))
        await bench.clock.run_until(joining.done, step_s=0.01)
        assert 0 <= bench.clock.monotonic_s() - TEST_LIMITS.drain_s < 1
        assert broker.committed == {}, "what was cut off is not settled; it comes again"
        await second.close()


async def test_promise_3_nothing_is_settled_for_an_assignment_that_is_lost() -> None:
    broker = MemoryBroker()
    async with running_pump(broker=broker) as bench:
        bench.target.hold(b"one")
        broker.append(b"one")
        await bench.target.until_runs(1)
        expiring = asyncio.create_task(broker.expire(bench.source))
        await let_others_run()
        await bench.target.let_go(b"one")
        await expiring
        assert broker.commits == []
        await bench.until_settled(2)
        assert bench.target.values == [b"one", b"one"]
        await bench.until_committed(1)


async def test_promise_3_only_marks_that_changed_are_settled() -> None:
    async with running_pump(broker=MemoryBroker(partitions=2)) as bench:
        bench.broker.append(b"one", partition=1)
        await bench.until_committed(1, partition=1)
        bench.clock.advance(10)
        await let_others_run()
        assert bench.broker.commits == [{1: Mark(position=1)}]


async def test_promise_3_what_was_cut_off_is_counted_as_a_repeat() -> None:
    broker = MemoryBroker(partitions=2)
    async with running_pump(broker=broker) as bench:
        bench.target.hold(b"stuck")
        broker.append(b"stuck")
        await bench.target.until_runs(1)
        second = MemorySource(broker)
        joining = asyncio.create_task(second.open(Joiner()))
        await bench.clock.run_until(joining.done)
        await bench.target.until_runs(2)
        assert bench.pump.status().repeats_total == 1
        await bench.target.let_go(b"stuck")
        await bench.until_settled(1)
        await second.close()


async def test_promise_3_after_a_crash_what_is_open_below_a_finished_record_may_be_a_repeat() -> (
    None
):
    broker = MemoryBroker()
    for number in range(4):
        broker.append(str(number).encode())
    broker.commit({0: Mark(position=0, finished=((2, 2),))})
    async with running_pump(broker=broker) as bench:
        await bench.until_settled(3)
        assert bench.target.values == [b"0", b"1", b"3"]
        assert bench.pump.status().repeats_total == 2


async def test_promise_3_a_clean_stop_repeats_nothing() -> None:
    broker = MemoryBroker()
    async with running_pump(broker=broker) as first:
        for number in range(4):
            broker.append(str(number).encode())
        await first.until_settled(4)
        await first.pump.stop(grace_s=1)
    async with running_pump(broker=broker) as second:
        broker.append(b"4")
        await second.until_settled(1)
        assert second.pump.status().repeats_total == 0


async def test_promise_3_finished_offsets_that_cannot_be_read_are_ignored_and_counted() -> None:
    broker = MemoryBroker(partitions=2)
    broker.append(b"0")
    broker.append(b"1")
    broker.commit({0: Mark(position=0, finished=((1, 1),))})
    broker.unreadable = {0}
    async with running_pump(broker=broker) as bench:
        await bench.until_settled(2)
        assert bench.target.values == [b"0", b"1"]
        assert bench.pump.status().commit_metadata_ignored_total == 1


async def test_promise_3_finished_offsets_that_find_no_room_are_counted_and_done_again() -> None:
    broker = MemoryBroker()
    broker.ranges_max = 1
    async with running_pump(broker=broker) as first:
        first.target.hold(b"0", b"2")
        for number in range(4):
            broker.append(b"%d" % number)
        await first.until_settled(2)
        stopping = asyncio.create_task(first.pump.stop(grace_s=1))
        await first.clock.run_until(stopping.done)
        assert first.pump.status().commit_metadata_cut_total >= 1
    assert broker.finished == {0: ((1, 1),)}
    async with running_pump(broker=broker) as second:
        await second.until_committed(4)
        assert second.target.values == [b"0", b"2", b"3"]
        assert second.pump.status().commit_metadata_cut_total == 0


async def test_promise_3_at_full_speed_it_is_settled_by_number_before_the_interval_is_over() -> (
    None
):
    limits = replace(TEST_LIMITS, commit_records_max=5)
    async with running_pump(limits=limits) as bench:
        for number in range(4):
            bench.broker.append(b"%d" % number)
        await bench.until_settled(4)
        await let_others_run()
        assert bench.broker.commits == []
        bench.broker.append(b"4")
        await until(lambda: bench.broker.committed == {0: 5})
        assert bench.clock.monotonic_s() == 0


async def test_promise_3_a_settle_begins_while_another_one_runs() -> None:
    limits = replace(TEST_LIMITS, commit_records_max=1)
    async with running_pump(limits=limits) as bench:
        bench.source.settles.clear()
        for number in range(3):
            bench.broker.append(b"%d" % number)
            await bench.until_settled(number + 1)
            await let_others_run()
        assert bench.source.settles_begun == SETTLES_MAX
        bench.source.settles.set()
        await bench.until_committed(3)
        assert bench.broker.commits == [{0: Mark(position=n)} for n in (1, 2, 3)]


async def test_promise_3_what_a_settle_failed_to_settle_is_settled_although_others_came_after() -> (
    None
):
    limits = replace(TEST_LIMITS, commit_records_max=1)
    async with running_pump(broker=MemoryBroker(partitions=2), limits=limits) as bench:
        bench.source.settles.clear()
        bench.source.settle_failures = 1
        bench.broker.append(b"fails")
        await until(lambda: bench.source.settles_begun == 1)
        bench.broker.append(b"succeeds", partition=1)
        await until(lambda: bench.source.settles_begun == 2)
        bench.source.settles.set()
        await until(lambda: bench.broker.committed == {1: 1})
        await bench.until_committed(1)


async def test_promise_3_a_stop_waits_for_settles_that_run_and_makes_up_for_one_that_fails() -> (
    None
):
    limits = replace(TEST_LIMITS, commit_records_max=1)
    async with running_pump(limits=limits) as bench:
        bench.source.settles.clear()
        bench.source.settle_failures = 1
        bench.broker.append(b"one")
        await until(lambda: bench.source.settles_begun == 1)
        stopping = asyncio.create_task(bench.pump.stop(grace_s=1))
        await let_others_run()
        assert not stopping.done()
        bench.source.settles.set()
        await stopping
        assert bench.broker.committed == {0: 1}
