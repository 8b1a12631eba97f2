"""Limits pause, they never drop."""

import gc
import tracemalloc
from dataclasses import replace

import pytest
from catalog.events import DeliveryOrder
from router.adapters.memory_broker import MemoryBroker
from router.application.limits import PumpLimits
from router.application.work import NEVER, PartitionWork, Work
from router.domain.delivery import HEADER_HELD_BYTES, RECORD_HELD_BYTES, Delivery
from router.domain.low_water import Mark
from router.domain.status import PumpState
from router.domain.turns import Turns

from tests.support.manual_clock import let_others_run, until
from tests.support.router_flows import SUBSCRIBER
from tests.support.router_pumps import running_pump

MEASURED_RECORDS = 2_000


async def test_promise_5_no_more_calls_run_at_once_than_the_flow_allows() -> None:
    async with running_pump(replace(SUBSCRIBER, concurrency_max=3)) as bench:
        values = [str(number).encode() for number in range(9)]
        bench.target.hold(*values)
        for value in values:
            bench.broker.append(value)
        await bench.target.until_runs(3)
        await let_others_run()
        assert len(bench.target.runs) == 3
        await bench.target.let_go(*values)
        await bench.until_settled(9)
        assert bench.target.at_once_max == 3


@pytest.mark.parametrize(
    "limits",
    [
        PumpLimits(receive_wait_s=0.001, receive_records_max=1, span_records_max=4),
        PumpLimits(receive_wait_s=0.001, receive_records_max=1, records_held_max=4),
        PumpLimits(
            receive_wait_s=0.001,
            receive_records_max=1,
            bytes_held_max=4 * (RECORD_HELD_BYTES + len(b"00")),
        ),
    ],
    ids=["span", "records", "bytes"],
)
async def test_promise_5_at_a_limit_the_partition_is_paused_and_polling_goes_on(
    limits: PumpLimits,
) -> None:
    async with running_pump(limits=limits) as bench:
        values = [f"{number:02}".encode() for number in range(20)]
        bench.target.hold(*values)
        for value in values:
            bench.broker.append(value)
        await bench.target.until_runs(4)
        polls = bench.source.polls
        await until(lambda: bench.source.polls > polls + 5)
        assert len(bench.target.runs) == 4
        assert bench.pump.status().state is PumpState.RUNNING
        await bench.target.let_go(*values)
        await bench.until_settled(20)
        assert sorted(bench.target.values, key=str) == values


async def test_promise_5_a_stuck_key_holds_only_itself_until_the_span_limit() -> None:
    limits = PumpLimits(receive_wait_s=0.001, receive_records_max=1, span_records_max=10)
    async with running_pump(limits=limits, broker=MemoryBroker(partitions=2)) as bench:
        bench.target.hold(b"stuck")
        bench.broker.append(b"stuck", key=b"stuck")
        await bench.target.until_runs(1)
        for number in range(30):
            bench.broker.append(b"behind %d" % number, key=b"%d" % number)
            bench.broker.append(b"beside %d" % number, key=b"%d" % number, partition=1)
        await bench.until_settled(9 + 30)
        await let_others_run()
        assert bench.pump.status().settled_total == 9 + 30, "ten records of partition 0, one open"
        await bench.target.let_go(b"stuck")
        await bench.until_settled(61)


@pytest.mark.parametrize(
    "limits",
    [
        PumpLimits(receive_wait_s=0.001, receive_records_max=1, records_held_max=8),
        PumpLimits(
            receive_wait_s=0.001,
            receive_records_max=1,
            bytes_held_max=8 * (RECORD_HELD_BYTES + len(b"hhh")),
        ),
    ],
    ids=["records", "bytes"],
)
async def test_promise_5_a_partition_that_is_stuck_leaves_the_others_their_part(
    limits: PumpLimits,
) -> None:
    async with running_pump(limits=limits, broker=MemoryBroker(partitions=2)) as bench:
        bench.target.hold(b"hh")
        for _ in range(20):
            bench.broker.append(b"hh", key=b"h")
        await bench.target.until_runs(1)
        await until(lambda: bench.pump.status().bytes_held >= 8 * RECORD_HELD_BYTES)
        for number in range(20):
            bench.broker.append(b"%02d" % number, key=b"c", partition=1)
        await bench.until_settled(20)
        assert bench.target.values.count(b"hh") == 1
        await bench.target.let_go(b"hh")
        await bench.until_settled(40)


async def test_promise_5_the_status_says_what_is_held_and_for_how_long() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"old", b"new")
        bench.broker.append(b"old", headers=(("h", b"1"),))
        await bench.target.until_runs(1)
        bench.clock.advance(60)
        bench.broker.append(b"new")
        await bench.target.until_runs(2)
        status = bench.pump.status()
        expected = 2 * RECORD_HELD_BYTES + HEADER_HELD_BYTES + len(b"oldh1new")
        assert (status.bytes_held, status.oldest_unsettled_s) == (expected, 60)
        await bench.target.let_go(b"old")
        await bench.until_settled(1)
        assert bench.pump.status().oldest_unsettled_s == 0
        await bench.target.let_go(b"new")
        await bench.until_settled(2)
        assert bench.pump.status().bytes_held == 0


@pytest.mark.parametrize("order", [DeliveryOrder.KEY, DeliveryOrder.PARTITION])
@pytest.mark.parametrize("headers", [0, 1, 10])
@pytest.mark.parametrize("value_bytes", [2, 2_000])
def test_promise_5_what_a_record_counts_is_about_the_memory_that_it_takes(
    order: DeliveryOrder, headers: int, value_bytes: int
) -> None:
    partition = PartitionWork(
        0, Mark(position=0), order=order, limits=PumpLimits(), parts=1, begun_max=NEVER
    )
    turns: Turns[Work] = Turns()
    counted = 0
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(MEASURED_RECORDS):
            work = Work(_record_of_its_own(number, headers, value_bytes), partition, number)
            partition.low_water.start(number)
            if partition.lanes.add(work, work.delivery.key):
                turns.add(partition.ready, number, work)
            counted += work.held_bytes
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.9 * taken < counted < 1.4 * taken


def _record_of_its_own(number: int, headers: int, value_bytes: int) -> Delivery:
    """Made as if read: no two have an object in common."""
    own = bytes([number % 256, number // 256])
    return Delivery(
        "topic", 0, 10**6 + number, 10**12 + number, b"key" + own, own * (value_bytes // 2), 1,
        tuple((f"name-{number % 10}-{header}", b"value" + own) for header in range(headers)),
    )  # fmt: skip
