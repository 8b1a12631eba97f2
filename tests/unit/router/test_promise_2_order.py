"""Order, and who may invoke."""

from dataclasses import replace

from catalog.events import DeliveryOrder
from router.adapters.memory_broker import MemoryBroker
from router.domain.status import PumpState

from tests.support.manual_clock import let_others_run
from tests.support.router_flows import SUBSCRIBER
from tests.support.router_pumps import UNREACHABLE, running_pump


async def test_promise_2_records_of_one_key_run_one_after_the_other() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"first")
        bench.broker.append(b"first", key=b"k")
        bench.broker.append(b"second", key=b"k")
        await bench.target.until_runs(1)
        await let_others_run()
        assert bench.target.values == [b"first"]
        await bench.target.let_go(b"first")
        await bench.target.until_runs(2)
        assert bench.target.values == [b"first", b"second"]


async def test_promise_2_different_keys_run_at_the_same_time_on_one_partition() -> None:
    async with running_pump() as bench:
        values = [str(number).encode() for number in range(10)]
        bench.target.hold(*values)
        for value in values:
            bench.broker.append(value, key=value)
        await bench.target.until_runs(10)
        assert bench.target.at_once_max == 10
        assert bench.pump.status().in_flight == 10


async def test_promise_2_records_of_one_key_in_two_partitions_have_no_order() -> None:
    broker = MemoryBroker(partitions=2)
    async with running_pump(broker=broker) as bench:
        bench.target.hold(b"0", b"1")
        for partition in range(2):
            broker.append(b"%d" % partition, key=b"k", partition=partition)
        await bench.target.until_runs(2)
        await bench.target.let_go(b"0", b"1")
        await bench.until_settled(2)


async def test_promise_2_records_without_a_key_run_at_the_same_time() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"a", b"b")
        bench.broker.append(b"a")
        bench.broker.append(b"b")
        await bench.target.until_runs(2)
        assert bench.target.at_once_max == 2


async def test_promise_2_a_retried_head_keeps_its_place() -> None:
    async with running_pump() as bench:
        bench.target.answers[b"first"].append(UNREACHABLE)
        bench.broker.append(b"first", key=b"k")
        bench.broker.append(b"second", key=b"k")
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 2)
        assert bench.target.values == [b"first", b"first", b"second"]


async def test_promise_2_a_worker_that_was_frozen_invokes_nothing() -> None:
    async with running_pump() as bench:
        await bench.until_state(PumpState.RUNNING)
        bench.source.confirmed = False
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.BACKING_OFF)
        assert "confirmed" in bench.pump.status().reason
        assert bench.target.runs == []
        bench.source.confirmed = True
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1)
        await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.RUNNING)


async def test_promise_2_a_worker_that_may_have_lost_the_flow_invokes_nothing() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"one")
        bench.broker.append(b"one", key=b"k")
        bench.broker.append(b"two", key=b"k")
        await bench.target.until_runs(1)
        bench.fence_open = False
        await bench.target.let_go(b"one")
        await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.BACKING_OFF)
        assert bench.target.values == [b"one"]
        bench.fence_open = True
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 2)


async def test_promise_2_with_partition_order_a_partition_runs_one_record_after_the_other() -> None:
    spec = replace(SUBSCRIBER, order=DeliveryOrder.PARTITION)
    async with running_pump(spec, broker=MemoryBroker(partitions=2)) as bench:
        bench.target.hold(b"first", b"other")
        bench.broker.append(b"first", key=b"a")
        bench.broker.append(b"second", key=b"b")
        bench.broker.append(b"third")
        bench.broker.append(b"other", key=b"a", partition=1)
        await bench.target.until_runs(2)
        await let_others_run()
        assert sorted(bench.target.values, key=str) == [b"first", b"other"]
        await bench.target.let_go(b"first")
        await bench.target.until_runs(4)
        assert bench.target.values[-2:] == [b"second", b"third"]
        await bench.target.let_go(b"other")


async def test_promise_2_without_order_records_of_one_key_run_at_the_same_time() -> None:
    async with running_pump(replace(SUBSCRIBER, order=DeliveryOrder.NONE)) as bench:
        bench.target.hold(b"a", b"b")
        bench.broker.append(b"a", key=b"k")
        bench.broker.append(b"b", key=b"k")
        await bench.target.until_runs(2)
        assert bench.target.at_once_max == 2
        await bench.target.let_go(b"a", b"b")
        await bench.until_committed(2)


async def test_promise_2_the_right_to_invoke_is_checked_before_each_call() -> None:
    async with running_pump(replace(SUBSCRIBER, concurrency_max=1)) as bench:
        bench.target.hold(b"0")
        for number in range(5):
            bench.broker.append(str(number).encode())
        await bench.target.until_runs(1)
        bench.source.confirmed = False
        await bench.target.let_go(b"0")
        await bench.until_settled(1)
        await let_others_run()
        assert bench.target.values == [b"0"], "what was received before is not begun either"


async def test_promise_2_a_hot_partition_does_not_starve_the_others() -> None:
    spec = replace(SUBSCRIBER, concurrency_max=1)
    async with running_pump(spec, broker=MemoryBroker(partitions=2)) as bench:
        bench.target.hold(b"hot 0")
        for number in range(100):
            bench.broker.append(b"hot %d" % number)
        bench.broker.append(b"cold", partition=1)
        await bench.target.until_runs(1)
        await let_others_run()
        await bench.target.let_go(b"hot 0")
        await bench.until_settled(101)
        assert bench.target.values.index(b"cold") <= 2


async def test_promise_2_the_oldest_head_runs_first_so_a_busy_key_is_not_left_behind() -> None:
    async with running_pump(replace(SUBSCRIBER, concurrency_max=1)) as bench:
        bench.target.hold(b"busy 0")
        bench.broker.append(b"busy 0", key=b"busy")
        bench.broker.append(b"busy 1", key=b"busy")
        for number in range(3):
            bench.broker.append(b"idle %d" % number, key=b"%d" % number)
        await bench.target.until_runs(1)
        await let_others_run()
        await bench.target.let_go(b"busy 0")
        await bench.until_settled(5)
        assert bench.target.values == [b"busy 0", b"busy 1", b"idle 0", b"idle 1", b"idle 2"]
