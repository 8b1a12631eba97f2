"""A flow says what it is doing."""

import asyncio
import logging
from dataclasses import replace
from functools import partial

import pytest
from catalog.events import GiveUp
from router.adapters.memory_broker import MemoryBroker
from router.application.limits import LAG_LOOK_S
from router.application.session import NOT_ASSIGNED, STALE, WELL_S
from router.domain.outcome import OutcomeKind, failed
from router.domain.retry_policy import AWAY_LONGEST_S, RetryPolicy, RetryRule
from router.domain.status import PumpState

from tests.support.manual_clock import until
from tests.support.router_flows import SUBSCRIBER
from tests.support.router_pumps import (
    TEST_LIMITS,
    UNREACHABLE,
    Bench,
    is_waited_for,
    running_pump,
)

HOUR_S = 3_600.0


def is_in(bench: Bench, state: PumpState) -> bool:
    return bench.pump.status().state is state


async def test_promise_10_a_flow_says_what_it_is_doing() -> None:
    def away(bench: Bench) -> None:
        bench.broker.away = "127.0.0.1:1: nothing listens there"

    async with running_pump(prepare=away) as bench:
        assert bench.pump.status().state is PumpState.STARTING
        await bench.until_state(PumpState.BACKING_OFF)
        assert bench.pump.status().reason == "127.0.0.1:1: nothing listens there"
        bench.broker.away = None
        await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.RUNNING)
        bench.broker.append(b"one")
        await bench.until_settled(1)
        assert bench.pump.status().last_progress is not None
        bench.target.hold(b"two")
        bench.broker.append(b"two")
        await bench.target.until_runs(2)
        await bench.clock.run_until(lambda: bench.pump.status().lag_records == 1)
        assert bench.pump.status().partitions == 1
        await bench.target.let_go(b"two")
        await bench.pump.stop(grace_s=1)
        assert bench.pump.status().state is PumpState.STOPPED


async def test_promise_10_lag_that_was_worked_off_is_not_shown_until_the_next_measurement() -> None:
    limits = replace(TEST_LIMITS, lag_interval_s=HOUR_S)
    broker = MemoryBroker()
    for number in range(10):
        broker.append(b"%d" % number)
    async with running_pump(broker=broker, limits=limits) as bench:
        bench.target.hold(b"9")
        await bench.until_settled(9)
        await bench.clock.run_until(lambda: bench.pump.status().lag_records > 0)
        await bench.target.let_go(b"9")
        await bench.until_settled(10)
        done_s = bench.clock.monotonic_s()
        await bench.clock.run_until(lambda: bench.pump.status().lag_records == 0)
        assert bench.clock.monotonic_s() - done_s <= 2 * LAG_LOOK_S


async def test_promise_10_a_broker_that_goes_away_is_told_and_heals_by_itself() -> None:
    async with running_pump() as bench:
        await bench.until_state(PumpState.RUNNING)
        bench.broker.away = "gone"
        await bench.until_state(PumpState.BACKING_OFF)
        bench.broker.away = None
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1)
        assert bench.pump.status().state is PumpState.RUNNING


async def test_promise_10_a_source_that_stays_unconfirmed_is_opened_anew() -> None:
    async with running_pump() as bench:
        await bench.until_state(PumpState.RUNNING)
        bench.source.confirmed = False
        await bench.clock.run_until(lambda: bench.source.opened == 2, step_s=0.2)
        assert bench.clock.monotonic_s() >= TEST_LIMITS.unconfirmed_max_s
        bench.broker.append(b"one")
        bench.source.confirmed = True
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1)


async def test_promise_10_a_source_that_gives_no_partitions_is_opened_anew_and_says_why() -> None:
    async with running_pump() as bench:
        await bench.until_state(PumpState.RUNNING)
        await bench.source.revoke()
        await bench.clock.run_until(
            lambda: bench.pump.status().state is PumpState.BACKING_OFF, step_s=0.2
        )
        assert bench.pump.status().reason == NOT_ASSIGNED
        assert bench.clock.monotonic_s() >= TEST_LIMITS.unassigned_max_s
        await bench.clock.run_until(lambda: bench.source.opened == 2)
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1)
        assert bench.pump.status().state is PumpState.RUNNING


async def test_promise_10_a_stale_assignment_that_none_follows_is_told_and_opened_anew() -> None:
    async with running_pump() as bench:
        await bench.until_state(PumpState.RUNNING)
        bench.source.evict()
        bench.broker.append(b"one")
        await bench.clock.run_until(
            lambda: bench.pump.status().state is PumpState.BACKING_OFF, step_s=0.2
        )
        assert bench.pump.status().reason == STALE
        assert bench.clock.monotonic_s() < TEST_LIMITS.unconfirmed_max_s, "told at once"
        assert bench.source.opened == 1
        await bench.clock.run_until(lambda: bench.source.opened == 2, step_s=0.2)
        assert bench.clock.monotonic_s() >= TEST_LIMITS.unconfirmed_max_s
        await bench.until_committed(1)
        assert bench.target.values == [b"one", b"one"]
        assert bench.pump.status().state is PumpState.RUNNING


async def test_promise_10_a_source_that_fails_at_once_each_time_is_opened_later_and_later() -> None:
    async with running_pump() as bench:
        await bench.until_state(PumpState.RUNNING)
        bench.source.damaged = True
        for wait_s in (0.2, 0.4, 0.8, 1.6):
            await until(partial(is_waited_for, bench, wait_s))
            bench.clock.advance(wait_s)
        bench.source.damaged = False
        await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.RUNNING)
        bench.clock.advance(WELL_S)
        bench.source.damaged = True
        await until(partial(is_waited_for, bench, 0.2))


async def test_promise_10_a_broker_that_was_away_for_long_is_found_soon_after_it_is_back() -> None:
    broker = MemoryBroker()
    broker.away = "nobody listens there"
    async with running_pump(broker=broker) as bench:
        await bench.clock.run_until(lambda: bench.clock.monotonic_s() >= HOUR_S, step_s=1)
        broker.away = None
        await bench.clock.run_until(
            lambda: bench.pump.status().state is PumpState.RUNNING, step_s=1
        )
        assert bench.clock.monotonic_s() <= HOUR_S + AWAY_LONGEST_S + 2


async def test_promise_10_a_position_that_is_gone_makes_the_flow_failed() -> None:
    broker = MemoryBroker()
    broker.committed[0] = 99
    async with running_pump(broker=broker) as bench:
        await bench.until_state(PumpState.FAILED)
        assert bench.pump.status().reason == "partition 0 ends at 0"
        await bench.running
        await bench.pump.stop(grace_s=1)
        assert bench.pump.status().state is PumpState.FAILED


async def test_promise_10_a_target_that_keeps_failing_is_told() -> None:
    async with running_pump() as bench:
        bench.target.answers[b"one"].extend([UNREACHABLE] * 4)
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.BACKING_OFF)
        assert bench.pump.status().reason == "unreachable: the runner is away"
        await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.RUNNING)


async def test_promise_10_what_an_algorithm_says_is_shown_and_never_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    quoting = failed(OutcomeKind.CRASHED, "secret cannot be read", error_type="ValueError")
    rule = RetryRule(failure=OutcomeKind.CRASHED, attempts_max=4, give_up=GiveUp.HALT_KEY)
    spec = replace(SUBSCRIBER, retries=RetryPolicy(rules=(rule,)))
    async with running_pump(spec) as bench:
        bench.target.answers[b"secret"].extend([quoting] * 4)
        bench.broker.append(b"secret", key=b"secret")
        for state in (PumpState.BACKING_OFF, PumpState.HALTED):
            await bench.clock.run_until(partial(is_in, bench, state))
            assert "secret" in bench.pump.status().reason
    for told in ("is backing_off crashed", "a key halts, topic-0@0: crashed", "is halted"):
        assert told in caplog.text
    assert "secret" not in caplog.text


async def test_promise_10_a_programming_error_is_raised_and_shown() -> None:
    async with running_pump() as bench:

        async def explode(run: object) -> None:
            raise KeyError("secret")

        bench.target.invoke = explode  # type: ignore[method-assign, assignment]
        bench.broker.append(b"one")
        with pytest.raises(ExceptionGroup):
            await bench.running
        status = bench.pump.status()
        assert status.state is PumpState.FAILED
        assert "secret" not in status.reason
        bench.running = asyncio.create_task(asyncio.sleep(0))
