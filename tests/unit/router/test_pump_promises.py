"""The ten promises of delivery, on adapters in memory. Their names stand in the design."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from catalog.events import FlowKind
from router.adapters.memory_broker import MemoryBroker
from router.adapters.memory_source import MemorySource
from router.application.limits import PumpLimits
from router.application.pump import NOT_ASSIGNED, STALE
from router.domain.flow_spec import AlgorithmTargetSpec
from router.domain.low_water import Mark
from router.domain.outcome import OutcomeKind, failed
from router.domain.retry_policy import (
    CRASHED_ATTEMPTS_MAX,
    TIMED_OUT_ATTEMPTS_MAX,
    RetryPolicy,
    RetryRule,
)
from router.domain.status import PumpState

from tests.support.manual_clock import let_others_run, until
from tests.support.router_flows import (
    ALGORITHM,
    COMPLETION,
    PUBLISHER,
    SUBSCRIBER,
    with_header,
)
from tests.support.router_pumps import TEST_LIMITS, Bench, running_pump

UNREACHABLE = failed(OutcomeKind.UNREACHABLE, "the runner is away")
BROKEN = failed(OutcomeKind.ALGORITHM_ERROR, "bad input", error_type="InputError")


# 1. Nothing is settled before its outcome is durable ----------------------------------------------


async def test_promise_1_nothing_is_settled_before_its_outcome_is_durable() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"slow")
        bench.broker.append(b"slow", key=b"a")
        bench.broker.append(b"quick", key=b"b")
        await bench.until_settled(1)
        bench.clock.advance(5)
        await let_others_run()
        assert bench.broker.commits == [{0: Mark(position=0, finished=((1, 1),))}]
        await bench.target.let_go(b"slow")
        await bench.until_committed(2)


async def test_promise_1_a_killed_pump_loses_nothing() -> None:
    broker = MemoryBroker()
    async with running_pump(broker=broker) as killed:
        killed.target.hold(b"1")
        for number in range(3):
            broker.append(str(number).encode(), key=str(number).encode())
        await killed.until_settled(2)
    assert broker.committed == {}
    async with running_pump(broker=broker) as bench:
        await bench.until_settled(3)
        assert bench.target.values == [b"0", b"1", b"2"]
        await bench.until_committed(3)


async def test_promise_1_a_failed_settle_is_repeated() -> None:
    async with running_pump() as bench:
        bench.broker.append(b"one")
        await bench.until_settled(1)
        bench.source.settle_failures = 2
        await bench.clock.run_until(
            lambda: bench.pump.status().state is PumpState.BACKING_OFF, step_s=0.25
        )
        assert "commit" in bench.pump.status().reason
        await bench.until_committed(1)
        await bench.until_state(PumpState.RUNNING)


# 2. Order, and who may invoke ---------------------------------------------------------------------


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


# 3. Low water, moves ------------------------------------------------------------------------------


async def test_promise_3_the_commit_is_the_contiguous_low_water_mark() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"2")
        for number in range(5):
            bench.broker.append(str(number).encode(), gap=2)
        await bench.until_settled(4)
        await bench.until_committed(8)
        await bench.target.let_go(b"2")
        await bench.until_committed(15)


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
        joining = asyncio.create_task(second.open(_Quiet()))
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
        joining = asyncio.create_task(second.open(_Quiet()))
        await bench.clock.run_until(joining.done)
        assert bench.clock.monotonic_s() >= TEST_LIMITS.drain_s
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


# 4. Identity of a run -----------------------------------------------------------------------------


async def test_promise_4_all_attempts_share_the_request_id_and_are_counted() -> None:
    async with running_pump() as bench:
        bench.target.answers[b"one"].extend([UNREACHABLE, UNREACHABLE])
        bench.broker.append(b"one", headers=(("ef-hops", b"3"),))
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1)
        runs = bench.target.runs
        assert [run.attempt for run in runs] == [1, 2, 3]
        assert len({run.request_id for run in runs}) == 1
        assert {run.hops for run in runs} == {4}


# 5. Limits ----------------------------------------------------------------------------------------


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
        PumpLimits(receive_wait_s=0.001, receive_records_max=1, bytes_held_max=4 * len(b"00")),
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


# 6. Retry -----------------------------------------------------------------------------------------


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
        for attempt, wait_s in enumerate([0.2, 0.4, 10.8], 1):
            await bench.target.until_ended(attempt)
            await until(partial(_is_waited_for, bench, wait_s))
            bench.clock.advance(wait_s - 0.01)
            await let_others_run()
            assert len(bench.target.runs) == attempt
            bench.clock.advance(0.02)
        await bench.until_settled(1)


async def test_promise_6_an_algorithm_error_is_not_repeated() -> None:
    async with running_pump() as bench:
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"bad")
        await bench.until_settled(1)
        assert len(bench.target.runs) == 1
        assert bench.pump.status().dead_lettered_total == 1


# 7. Dead letters ----------------------------------------------------------------------------------


async def test_promise_7_a_given_up_delivery_is_kept_with_its_history() -> None:
    async with running_pump() as bench:
        bench.target.answers[b"bad"].extend([UNREACHABLE, BROKEN])
        bench.broker.append(b"bad", key=b"k", headers=(("own", b"1"),))
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1)
        (letter,) = bench.letters.letters
        headers = dict(letter.headers)
        assert (letter.delivery.key, letter.delivery.value) == (b"k", b"bad")
        assert headers["own"] == b"1"
        assert headers["ef-dl-reason"] == b"algorithm_error"
        assert headers["ef-dl-attempts"] == b"2"
        assert headers["ef-dl-request-id"].decode() == bench.target.runs[0].request_id


async def test_promise_7_it_is_settled_only_after_the_write_is_acknowledged() -> None:
    async with running_pump() as bench:
        bench.letters.away = "no broker"
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"bad")
        await bench.clock.run_until(lambda: bench.letters.tries == 3)
        assert bench.broker.commits == []
        assert bench.pump.status().state is PumpState.BACKING_OFF
        assert bench.pump.status().reason == "dead letter not written: no broker"
        bench.letters.away = None
        await bench.until_committed(1)
        assert len(bench.letters.letters) == 1
        assert len(bench.target.runs) == 1, "the algorithm is not run again for it"
        assert bench.pump.status().state is PumpState.RUNNING


async def test_promise_7_a_delivery_that_is_too_old_is_given_up() -> None:
    impatient = RetryPolicy(rules=(RetryRule(age_max_s=3600),))
    async with running_pump(replace(SUBSCRIBER, retries=impatient)) as bench:
        bench.target.default = UNREACHABLE
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: bench.letters.letters, step_s=1)
        headers = dict(bench.letters.letters[0].headers)
        assert headers["ef-dl-reason"] == b"unreachable"
        assert 3600 <= bench.clock.monotonic_s() < 3600 + 120


async def test_promise_7_a_run_that_always_times_out_is_given_up() -> None:
    async with running_pump() as bench:
        bench.target.default = failed(OutcomeKind.TIMED_OUT, "too slow", error_type="TimeoutError")
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: bench.letters.letters, step_s=1)
        assert len(bench.target.runs) == TIMED_OUT_ATTEMPTS_MAX


async def test_promise_7_a_run_that_always_crashes_is_given_up_after_a_few_attempts() -> None:
    async with running_pump() as bench:
        bench.target.default = failed(OutcomeKind.CRASHED, "killed", error_type="SystemExit")
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: bench.letters.letters, step_s=1)
        assert len(bench.target.runs) == CRASHED_ATTEMPTS_MAX
        assert dict(bench.letters.letters[0].headers)["ef-dl-reason"] == b"crashed"


async def test_promise_7_a_crash_that_passes_costs_no_record() -> None:
    crashed = failed(OutcomeKind.CRASHED, "no memory", error_type="LoadingError")
    slow = failed(OutcomeKind.TIMED_OUT, "too slow", error_type="TimeoutError")
    async with running_pump() as bench:
        bench.target.answers[b"one"].extend([crashed, slow, UNREACHABLE, slow, crashed])
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: bench.pump.status().settled_total == 1, step_s=1)
        assert len(bench.target.runs) == 6, "each class counts its own attempts"
        assert bench.letters.letters == []


async def test_promise_7_a_loop_ends_in_a_dead_letter() -> None:
    async with running_pump() as bench:
        bench.broker.append(b"last", headers=(("ef-hops", b"23"),))
        bench.broker.append(b"one too many", headers=(("ef-hops", b"24"),))
        await bench.until_settled(2)
        assert bench.target.values == [b"last"]
        assert dict(bench.letters.letters[0].headers)["ef-dl-reason"] == b"loop"


# 9. Stop ------------------------------------------------------------------------------------------


async def test_promise_9_stop_drains_and_settles_what_runs() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"running")
        bench.broker.append(b"running", key=b"k")
        bench.broker.append(b"behind", key=b"k")
        await bench.target.until_runs(1)
        stopping = asyncio.create_task(bench.pump.stop(grace_s=30))
        await bench.until_state(PumpState.DRAINING)
        bench.broker.append(b"later", key=b"other")
        await let_others_run()
        await bench.target.let_go(b"running")
        await stopping
        assert bench.target.values == [b"running"]
        assert bench.broker.committed == {0: 1}
        assert bench.pump.status().state is PumpState.STOPPED
        await bench.running


async def test_promise_9_stop_waits_no_longer_than_the_grace_time() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"stuck")
        bench.broker.append(b"stuck")
        await bench.target.until_runs(1)
        stopping = asyncio.create_task(bench.pump.stop(grace_s=7))
        await bench.clock.run_until(stopping.done)
        assert 7 <= bench.clock.monotonic_s() < 8
        assert bench.broker.commits == []
        await bench.pump.stop(grace_s=7)


async def test_promise_9_a_pump_that_never_ran_can_be_stopped() -> None:
    async with running_pump() as bench:
        await bench.pump.stop(grace_s=1)
        assert bench.pump.status().state is PumpState.STOPPED
        await bench.running
        assert bench.target.runs == []


# 10. What a flow says -----------------------------------------------------------------------------


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


# Completions as a source --------------------------------------------------------------------------


async def test_completions_that_are_not_for_the_flow_are_settled_without_a_run() -> None:
    async with running_pump(PUBLISHER) as bench:
        bench.broker.append(b"failed", headers=with_header(COMPLETION, "ef-status", b"failed"))
        bench.broker.append(b"old", headers=with_header(COMPLETION, "ef-position", b"6"))
        bench.broker.append(b"mine", headers=COMPLETION)
        await bench.until_committed(3)
        assert bench.target.values == [b"mine"]
        assert bench.target.runs[0].hops == 1, "publishing is no run of an algorithm"


async def test_a_chain_flow_runs_another_algorithm_with_one_hop_more() -> None:
    chain = replace(
        PUBLISHER,
        kind=FlowKind.CHAIN,
        target=AlgorithmTargetSpec(algorithm=ALGORITHM, version="2.0.0"),
    )
    async with running_pump(chain) as bench:
        bench.broker.append(b"mine", headers=COMPLETION)
        await bench.until_committed(1)
        assert bench.target.runs[0].hops == 2


class _Quiet:
    """A second reader that only joins."""

    def on_assigned(self, marks: object, *, epoch: int, unreadable: int = 0) -> None:
        pass

    async def on_revoked(self) -> None:
        pass


def _is_waited_for(bench: Bench, wait_s: float) -> bool:
    return wait_s in [round(each, 3) for each in bench.clock.waits()]
