"""A rule may halt a key or the flow instead of giving a delivery up; a resume tries again."""

import asyncio
from dataclasses import replace

import pytest
from catalog.events import DeliveryOrder, GiveUp
from router.adapters.memory_broker import MemoryBroker
from router.adapters.memory_source import MemorySource
from router.application.limits import PumpLimits
from router.domain.flow_spec import FlowSpec
from router.domain.outcome import OutcomeKind
from router.domain.retry_policy import RetryPolicy, RetryRule
from router.domain.run_mode import RunMode
from router.domain.status import PumpState

from tests.support.manual_clock import let_others_run
from tests.support.router_flows import SUBSCRIBER
from tests.support.router_pumps import BROKEN, UNREACHABLE, Joiner, running_pump


def halting(give_up: GiveUp, *, attempts_max: int = 1) -> FlowSpec:
    rule = RetryRule(
        failure=OutcomeKind.ALGORITHM_ERROR, attempts_max=attempts_max, give_up=give_up
    )
    return replace(SUBSCRIBER, retries=RetryPolicy(rules=(rule,)))


async def test_promise_6_a_halted_key_stands_and_the_others_go_on() -> None:
    spec = replace(halting(GiveUp.HALT_KEY), concurrency_max=1)
    async with running_pump(spec) as bench:
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"bad", key=b"a")
        bench.broker.append(b"behind", key=b"a")
        bench.broker.append(b"beside", key=b"b")
        await bench.until_settled(1)
        status = bench.pump.status()
        assert (status.state, status.halted_keys, status.in_flight) == (PumpState.HALTED, 1, 0)
        assert (
            status.reason
            == "a key was halted at topic-0@0 until a resume: algorithm_error: bad input"
        )
        assert bench.target.values == [b"bad", b"beside"]
        await bench.clock.run_until(lambda: bench.broker.commits)
        assert bench.broker.committed == {0: 0}, "nothing is lost, nothing is passed over"
        assert bench.letters.letters == []


async def test_promise_6_a_key_that_halts_after_many_attempts_is_told_as_halted() -> None:
    async with running_pump(halting(GiveUp.HALT_KEY, attempts_max=4)) as bench:
        bench.target.answers[b"bad"].extend([BROKEN] * 4)
        bench.broker.append(b"bad", key=b"a")
        await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.BACKING_OFF)
        await bench.clock.run_until(lambda: bench.pump.status().halted_keys)
        assert bench.pump.status().state is PumpState.HALTED


async def test_promise_6_a_resume_tries_a_halted_key_again_with_fresh_attempts() -> None:
    async with running_pump(halting(GiveUp.HALT_KEY, attempts_max=2)) as bench:
        bench.target.answers[b"bad"].extend([BROKEN] * 3)
        bench.broker.append(b"bad", key=b"a")
        bench.broker.append(b"behind", key=b"a")
        await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.HALTED)
        assert [run.attempt for run in bench.target.runs] == [1, 2]
        bench.pump.steer(RunMode.RUNNING, 0)
        await let_others_run()
        assert len(bench.target.runs) == 2, "nobody resumed it"
        bench.pump.steer(RunMode.RUNNING, 11)
        assert bench.pump.status().state is PumpState.RUNNING
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 2)
        assert [run.attempt for run in bench.target.runs] == [1, 2, 1, 2, 1]
        assert bench.target.values[-1] == b"behind"
        assert len({run.request_id for run in bench.target.runs[:4]}) == 1
        status = bench.pump.status()
        assert (status.state, status.halted_keys, status.reason) == (PumpState.RUNNING, 0, "")


@pytest.mark.parametrize("order", [DeliveryOrder.PARTITION, DeliveryOrder.NONE])
async def test_promise_6_a_halt_holds_what_the_order_says(order: DeliveryOrder) -> None:
    async with running_pump(replace(halting(GiveUp.HALT_KEY), order=order)) as bench:
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"bad", key=b"a")
        bench.broker.append(b"next", key=b"b")
        await bench.until_state(PumpState.HALTED)
        await let_others_run()
        expected = [b"bad"] if order is DeliveryOrder.PARTITION else [b"bad", b"next"]
        assert bench.target.values == expected


async def test_promise_6_a_halted_key_holds_its_partition_at_the_span_limit() -> None:
    limits = PumpLimits(receive_wait_s=0.001, receive_records_max=1, span_records_max=5)
    async with running_pump(halting(GiveUp.HALT_KEY), limits=limits) as bench:
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"bad", key=b"a")
        for number in range(10):
            bench.broker.append(b"%d" % number)
        await bench.until_settled(4)
        await let_others_run()
        assert bench.pump.status().settled_total == 4
        bench.pump.steer(RunMode.RUNNING, 11)
        await bench.until_settled(11)


async def test_promise_6_a_halted_flow_starts_nothing_until_a_resume() -> None:
    async with running_pump(halting(GiveUp.HALT_FLOW)) as bench:
        bench.target.answers[b"bad"].append(BROKEN)
        bench.target.hold(b"running")
        bench.broker.append(b"running", key=b"r")
        await bench.target.until_runs(1)
        bench.broker.append(b"bad", key=b"a")
        await bench.until_state(PumpState.HALTED)
        bench.broker.append(b"other", key=b"b")
        polls = bench.source.polls
        await bench.target.let_go(b"running")
        await bench.until_committed(1)
        await bench.clock.run_until(lambda: bench.source.polls > polls)
        assert bench.target.values == [b"running", b"bad"]
        assert bench.pump.status().reason == (
            "the flow was halted at topic-0@1 until a resume: algorithm_error: bad input"
        )
        bench.pump.steer(RunMode.RUNNING, 11)
        await bench.until_committed(3)
        assert bench.target.values[2:] == [b"bad", b"other"]
        assert bench.pump.status().state is PumpState.RUNNING


async def test_promise_6_a_halted_flow_stays_halted_under_a_new_assignment() -> None:
    broker = MemoryBroker(partitions=2)
    async with running_pump(halting(GiveUp.HALT_FLOW), broker=broker) as bench:
        bench.target.answers[b"bad"].append(BROKEN)
        broker.append(b"bad")
        await bench.until_state(PumpState.HALTED)
        second = MemorySource(broker)
        await second.open(Joiner())
        await let_others_run()
        assert bench.target.values == [b"bad"]
        assert bench.pump.status().state is PumpState.HALTED
        bench.pump.steer(RunMode.RUNNING, 11)
        await bench.until_committed(1)
        await second.close()


async def test_promise_6_a_halt_of_the_flow_stops_what_backs_off_as_well() -> None:
    async with running_pump(halting(GiveUp.HALT_FLOW)) as bench:
        bench.target.answers[b"ill"].append(UNREACHABLE)
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"ill")
        await bench.target.until_ended(1)
        bench.broker.append(b"bad")
        await bench.until_state(PumpState.HALTED)
        bench.clock.advance(60)
        await let_others_run()
        assert bench.target.values == [b"ill", b"bad"]
        bench.pump.steer(RunMode.RUNNING, 11)
        await bench.until_settled(2)


async def test_promise_6_a_halted_flow_can_be_stopped() -> None:
    async with running_pump(halting(GiveUp.HALT_FLOW)) as bench:
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"bad")
        await bench.until_state(PumpState.HALTED)
        stopping = asyncio.create_task(bench.pump.stop(grace_s=5))
        await stopping
        assert bench.pump.status().state is PumpState.STOPPED
        assert bench.broker.committed == {}


async def test_promise_6_the_next_owner_counts_attempts_anew_and_halts_again() -> None:
    spec, broker = halting(GiveUp.HALT_KEY, attempts_max=2), MemoryBroker()
    broker.append(b"bad", key=b"a")
    broker.append(b"behind", key=b"a")
    for _ in range(2):
        async with running_pump(spec, broker=broker) as bench:
            bench.target.answers[b"bad"].extend([BROKEN] * 2)
            await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.HALTED)
            assert [run.attempt for run in bench.target.runs] == [1, 2]
            assert bench.target.values == [b"bad", b"bad"]


async def test_promise_6_a_new_assignment_tries_a_halted_key_again() -> None:
    broker = MemoryBroker()
    async with running_pump(halting(GiveUp.HALT_KEY), broker=broker) as bench:
        bench.target.answers[b"bad"].extend([BROKEN] * 2)
        broker.append(b"bad", key=b"a")
        await bench.until_state(PumpState.HALTED)
        await broker.notice()
        await bench.target.until_ended(2)
        await bench.until_state(PumpState.HALTED)
        assert [run.attempt for run in bench.target.runs] == [1, 1]
