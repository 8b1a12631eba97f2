"""Retry by class of outcome; backing off takes no slot."""

import asyncio
from dataclasses import replace
from functools import partial

from router.domain.outcome import SUCCEEDED, OutcomeKind, failed
from router.domain.pace import STOP_AFTER, WAIT_LONGEST_S
from router.domain.retry_policy import RetryPolicy, RetryRule

from tests.support.manual_clock import let_others_run, until
from tests.support.router_flows import (
    SUBSCRIBER,
)
from tests.support.router_pumps import BROKEN, UNREACHABLE, Bench, is_waited_for, running_pump

LANES_FEW = 5
LANES_MANY = 200
MINUTE_S = 60.0


async def test_promise_6_a_retry_holds_only_its_own_lane() -> None:
    async with running_pump() as bench:
        bench.target.answers[b"ill"].extend([UNREACHABLE] * 3)
        bench.broker.append(b"ill", key=b"ill")
        bench.broker.append(b"behind", key=b"ill")
        bench.broker.append(b"well", key=b"well")
        await bench.until_settled(1)
        assert bench.target.values == [b"ill", b"well"]
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 3)
        assert bench.target.values[-2:] == [b"ill", b"behind"]
        assert bench.pump.status().retries_total == 3


async def test_promise_6_backing_off_takes_no_concurrency_slot() -> None:
    async with running_pump(replace(SUBSCRIBER, concurrency_max=1)) as bench:
        bench.target.answers[b"ill"].append(UNREACHABLE)
        bench.broker.append(b"ill", key=b"ill")
        bench.broker.append(b"well", key=b"well")
        await bench.until_settled(1)
        assert bench.target.values == [b"ill", b"well"]
        await until(lambda: bench.pump.status().in_flight == 0)


async def test_promise_6_the_wait_is_exponential_and_honours_retry_after() -> None:
    async with running_pump() as bench:
        asked = failed(OutcomeKind.OVERLOADED, "later", retry_after_s=10.0)
        bench.target.answers[b"one"].extend([UNREACHABLE, UNREACHABLE, asked])
        bench.broker.append(b"one")
        for attempt, wait_s in enumerate([0.2, 0.4, 10.2], 1):
            await bench.target.until_ended(attempt)
            await until(partial(is_waited_for, bench, wait_s))
            bench.clock.advance(wait_s - 0.01)
            await let_others_run()
            assert len(bench.target.runs) == attempt
            bench.clock.advance(0.02)
        await bench.until_settled(1)


async def test_promise_6_the_waits_of_one_kind_of_failure_make_those_of_another_no_longer() -> None:
    slow = failed(OutcomeKind.TIMED_OUT, "too long")
    async with running_pump() as bench:
        bench.target.answers[b"one"].extend([UNREACHABLE] * 8 + [slow, slow])
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: len(bench.target.ended) == 9, step_s=0.1)
        for attempt, wait_s in enumerate([0.2, 0.4], 9):
            await bench.target.until_ended(attempt)
            await until(partial(is_waited_for, bench, wait_s))
            bench.clock.advance(wait_s)
        await bench.until_settled(1)


async def test_promise_6_an_algorithm_error_is_not_repeated() -> None:
    async with running_pump() as bench:
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"bad")
        await bench.until_settled(1)
        assert len(bench.target.runs) == 1
        assert bench.pump.status().dead_lettered_total == 1


async def test_promise_6_what_backs_off_waits_in_one_heap() -> None:
    async with running_pump() as bench:
        bench.target.default = failed(OutcomeKind.TIMED_OUT, "too long")
        for number in range(60):
            bench.broker.append(b"%d" % number)
        await bench.target.until_ended(60)
        await until(lambda: bench.pump.status().resting == 60)
        assert len(bench.clock.waits()) <= 4, "one for all of them, and the pump's own"
        await until(lambda: bench.pump.status().in_flight == 0)
        bench.target.default = SUCCEEDED
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 60)
        assert bench.pump.status().resting == 0


async def test_promise_6_one_that_is_due_earlier_is_not_held_up_by_the_others() -> None:
    async with running_pump() as bench:
        late = failed(OutcomeKind.OVERLOADED, "later", retry_after_s=100.0)
        bench.target.answers[b"late"].append(late)
        bench.target.answers[b"soon"].append(UNREACHABLE)
        bench.broker.append(b"late")
        await until(lambda: bench.pump.status().resting == 1)
        bench.broker.append(b"soon")
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1)
        assert bench.clock.monotonic_s() < 1
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 2, step_s=1)
        assert bench.clock.monotonic_s() >= 100


async def test_promise_6_what_is_due_runs_before_what_came_later() -> None:
    async with running_pump(replace(SUBSCRIBER, concurrency_max=1)) as bench:
        bench.target.answers[b"ill"].append(UNREACHABLE)
        bench.target.hold(b"slow")
        bench.broker.append(b"ill")
        bench.broker.append(b"slow")
        for number in range(10):
            bench.broker.append(b"%d" % number)
        await bench.target.until_runs(2)
        await until(lambda: bench.pump.status().resting == 1)
        bench.clock.advance(1)
        await let_others_run()
        await bench.target.let_go(b"slow")
        await bench.target.until_runs(3)
        assert bench.target.values[:3] == [b"ill", b"slow", b"ill"]


async def test_promise_6_a_flows_own_rules_decide() -> None:
    patient = RetryPolicy(
        rules=(
            RetryRule(
                failure=OutcomeKind.ALGORITHM_ERROR,
                error_type="InputError",
                attempts_max=3,
                delay_first_s=7.0,
                factor=3.0,
            ),
        )
    )
    async with running_pump(replace(SUBSCRIBER, retries=patient)) as bench:
        bench.target.answers[b"bad"].extend([BROKEN] * 3)
        bench.broker.append(b"bad")
        for attempt, wait_s in enumerate([7.0, 21.0], 1):
            await bench.target.until_ended(attempt)
            await until(partial(is_waited_for, bench, wait_s))
            bench.clock.advance(wait_s)
        await bench.until_settled(1)
        assert len(bench.target.runs) == 3
        assert bench.pump.status().dead_lettered_total == 1


async def test_promise_6_what_waits_for_a_target_that_is_away_goes_on_when_it_is_back() -> None:
    later = failed(OutcomeKind.OVERLOADED, "later", retry_after_s=100.0)
    async with running_pump() as bench:
        for number in range(LANES_FEW):
            bench.target.answers[b"%d" % number].extend([UNREACHABLE] * 8)
            bench.broker.append(b"%d" % number)
        bench.target.answers[b"asked to wait"].append(later)
        bench.broker.append(b"asked to wait")
        await bench.clock.run_until(lambda: not any(bench.target.answers.values()), step_s=0.5)
        await until(lambda: bench.pump.status().in_flight == 0)
        await until(lambda: bench.pump.status().resting == LANES_FEW + 1)
        began_s = bench.clock.monotonic_s()
        bench.broker.append(b"new")
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == LANES_FEW + 1)
        assert bench.clock.monotonic_s() - began_s < 1
        assert bench.pump.status().resting == 1
        await bench.clock.run_until(
            lambda: bench.pump.status().settled_total == LANES_FEW + 2, step_s=1
        )
        assert bench.clock.monotonic_s() >= 100


async def test_promise_6_a_target_in_trouble_is_asked_by_one_call_at_a_time() -> None:
    later = failed(OutcomeKind.OVERLOADED, "later", retry_after_s=1.0)
    async with running_pump() as bench:
        bench.target.default = later
        for number in range(LANES_MANY):
            bench.broker.append(b"%d" % number)
        await bench.target.until_runs(STOP_AFTER)
        await let_others_run()
        at_once = len(bench.target.runs)
        await bench.clock.run_until(lambda: bench.clock.monotonic_s() >= MINUTE_S)
        asked = len(bench.target.runs) - at_once
        assert MINUTE_S / (WAIT_LONGEST_S + 1) <= asked <= MINUTE_S, "nobody sooner than asked for"
        assert len(set(bench.target.values)) < LANES_MANY / 2, "most have lost no attempt"


async def test_promise_6_a_target_in_trouble_is_spared_also_by_what_is_given_up_at_once() -> None:
    rule = RetryRule(failure=OutcomeKind.UNREACHABLE, attempts_max=1)
    spec = replace(SUBSCRIBER, retries=RetryPolicy(rules=(rule,)))
    async with running_pump(spec) as bench:
        bench.target.default = UNREACHABLE
        for number in range(LANES_MANY):
            bench.broker.append(b"%d" % number)
        await until(lambda: bench.pump.status().dead_lettered_total >= STOP_AFTER)
        await let_others_run()
        at_once = len(bench.target.runs)
        assert at_once <= STOP_AFTER + spec.concurrency_max
        await bench.clock.run_until(lambda: bench.clock.monotonic_s() >= MINUTE_S)
        assert len(bench.target.runs) - at_once <= MINUTE_S
        bench.target.default = SUCCEEDED
        await bench.clock.run_until(lambda: len(bench.target.runs) == LANES_MANY)
        assert bench.clock.monotonic_s() - MINUTE_S < WAIT_LONGEST_S + 2


async def test_promise_6_after_an_overload_everything_flows_again_within_seconds() -> None:
    async with running_pump() as bench:
        bench.target.default = failed(OutcomeKind.OVERLOADED, "later", retry_after_s=1.0)
        for number in range(LANES_MANY):
            bench.broker.append(b"%d" % number)
        await bench.clock.run_until(lambda: bench.clock.monotonic_s() >= MINUTE_S)
        bench.target.default = SUCCEEDED
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == LANES_MANY)
        assert bench.clock.monotonic_s() - MINUTE_S < WAIT_LONGEST_S + 2


async def test_promise_6_a_target_that_is_back_is_not_overrun() -> None:
    async with running_pump() as bench:
        bench.target.default = UNREACHABLE
        values = [b"%d" % number for number in range(LANES_MANY)]
        for value in values:
            bench.broker.append(value)
        await bench.target.until_runs(STOP_AFTER)
        await let_others_run()
        bench.target.default = SUCCEEDED
        bench.target.hold(*values)
        for calls in (1, 2, 4, 8, 16):
            await bench.clock.run_until(partial(_calls, bench, calls))
            bench.clock.advance(1)
            await let_others_run()
            assert bench.pump.status().in_flight == calls
            now_open = [run for run in bench.target.runs if run not in bench.target.ended]
            await bench.target.let_go(*[run.delivery.value or b"" for run in now_open])


async def test_promise_6_a_record_that_fails_alone_waits_although_others_succeed() -> None:
    async with running_pump() as bench:
        bench.target.answers[b"ill"].extend([UNREACHABLE] * 20)
        bench.broker.append(b"ill")
        await until(lambda: bench.pump.status().resting == 1)
        for number in range(50):
            bench.broker.append(b"%d" % number)
        await bench.until_settled(50)
        assert bench.target.values.count(b"ill") == 1


async def test_promise_6_a_record_that_a_rebalance_brings_again_is_the_same_delivery() -> None:
    """One that fails alone stops nobody, however often it moves."""
    async with running_pump() as bench:
        bench.target.answers[b"ill"].extend([UNREACHABLE] * 2 * STOP_AFTER)
        bench.broker.append(b"ill", key=b"ill")
        for number in range(STOP_AFTER):
            await bench.target.until_ended(number + 1)
            await let_others_run()
            await bench.broker.notice()
        bench.broker.append(b"well", key=b"well")
        await bench.until_settled(1)
        assert bench.target.values[-1] == b"well"


async def test_promise_6_calls_that_a_rebalance_broke_off_hide_no_refusal_of_later_ones() -> None:
    async with running_pump() as bench:
        values = [b"%d" % number for number in range(20)]
        bench.target.hold(*values)
        for value in values:
            bench.target.answers[value].extend([failed(OutcomeKind.OVERLOADED, "later")] * 2)
            bench.broker.append(value)
        await bench.target.until_runs(20)
        await bench.target.let_go(b"0")
        await let_others_run()
        assert bench.pump._parts.pace.calls_max == 15
        bench.target.hold(b"0")
        moving = asyncio.create_task(bench.broker.notice())
        await bench.clock.run_until(moving.done, step_s=0.01)
        await bench.target.until_runs(20 + 15)
        await bench.target.let_go(b"1")
        await let_others_run()
        assert bench.pump._parts.pace.calls_max < 15


def _calls(bench: Bench, count: int) -> bool:
    return bench.pump.status().in_flight == count
