"""Redrives and purges: at-least-once, in order, at their rate, counted by their marks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from catalog.events import DeadLetterSelection, DeliveryOrder, FailureClass, GiveUp
from catalog.records import DeadLetterTaskKind
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel.errors import EventflowsError, TooLarge, Unavailable
from registry.domain import values
from router.adapters.memory_broker import MemoryBroker
from router.application import (
    dead_letter_task,
    index_watch,
    keep_trying,
    letter_bytes,
    letters_at_work,
    task_gate,
)
from router.application.dead_letter_task import FLOW_GONE, IN_OWN_TOPIC, TaskRun
from router.application.redelivery import TROUBLE, UNWRITTEN
from router.application.served import Served
from router.domain.dead_letter_record import LetterState
from router.domain.delivery import RECORD_HELD_BYTES
from router.domain.flow_spec import AlgorithmTargetSpec
from router.domain.outcome import ENDPOINT_ERROR, SUCCEEDED, OutcomeKind, failed
from router.domain.pace import OF_THE_TARGET
from router.domain.redrive import (
    ATTEMPTS_MAX,
    DELAY_LONGEST_S,
    SUSPECT_AFTER_S,
    TokenBucket,
    is_answer,
)
from router.domain.request_id import request_id
from router.domain.retry_policy import RetryPolicy, RetryRule

from tests.support.dead_letter_stage import Stage, started, task_of
from tests.support.letters import START
from tests.support.manual_clock import ManualClock, let_others_run, until
from tests.support.router_flows import SUBSCRIBER, delivery
from tests.support.router_pumps import BROKEN, running_pump

BAD = failed(OutcomeKind.ALGORITHM_ERROR, "bad again", error_type="InputError")
BUSY = failed(OutcomeKind.OVERLOADED, "busy")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_gate, "LOOK_S", 0.001)
    monkeypatch.setattr(index_watch, "LOOK_S", 0.001)
    monkeypatch.setattr(keep_trying, "RETRY_LONGEST_S", 0.2)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    async with started(made.reader.run()):
        yield made


async def carried_out(run: TaskRun) -> None:
    async with asyncio.timeout(10):
        await run.run()


async def test_a_redrive_sends_the_original_with_a_new_request_id(stage: Stage) -> None:
    original = delivery(7, partition=3, headers=(("ef-dl-flow", b"own"),), epoch=0)
    letter = stage.letter(original)
    await carried_out(stage.run_of(task_of()))
    (run,) = stage.target.runs
    assert run.delivery == original
    assert run.request_id == request_id(original, flow_id="flow-1", generation=1)
    await until(lambda: stage.state(letter) is LetterState.REDRIVEN)
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_what_dies_again_becomes_a_letter_of_the_next_generation(stage: Stage) -> None:
    first = stage.letter(delivery(1, value=b"bad"))
    second = stage.letter(delivery(2, value=b"good"))
    stage.target.answers[b"bad"].append(BAD)
    await carried_out(stage.run_of(task_of()))
    assert stage.ends == [("task-1", 1, 1, "")]
    assert stage.state(first) is LetterState.DIED_AGAIN
    assert stage.state(second) is LetterState.REDRIVEN
    (born,) = [one for one in stage.index.letters.values() if one.state is LetterState.OPEN]
    assert (born.generation, born.born_in_task, born.source_offset) == (1, "task-1", 1)
    assert born.error == "bad again"


async def test_a_letter_that_dies_in_a_task_is_not_taken_by_it_again(stage: Stage) -> None:
    stage.target.default = BAD
    stage.letter(delivery(1))
    await carried_out(stage.run_of(task_of(requested_time=datetime.now(UTC) + timedelta(days=9))))
    assert len(stage.target.runs) == 1
    later = datetime.now(UTC) + timedelta(days=9)
    await carried_out(stage.run_of(task_of("task-2", requested_time=later)))
    assert [run.delivery.offset for run in stage.target.runs] == [1, 1]
    assert max(one.generation for one in stage.index.letters.values()) == 2


async def test_attempts_of_a_redrive_end(stage: Stage) -> None:
    stage.target.default = failed(OutcomeKind.TIMED_OUT, "too slow")
    letter = stage.letter(delivery(1))
    async with asyncio.timeout(60):
        await stage.run_of(task_of()).run()
    assert [run.attempt for run in stage.target.runs] == list(range(1, ATTEMPTS_MAX + 1))
    assert stage.state(letter) is LetterState.DIED_AGAIN


@pytest.mark.parametrize("kind", OF_THE_TARGET)
@pytest.mark.parametrize("error_type", ["", "Unavailable"])
async def test_an_outage_makes_a_redrive_wait_and_costs_no_letter(
    kind: OutcomeKind, error_type: str
) -> None:
    clock = ManualClock()
    stage = Stage(clock)
    stage.target.default = failed(kind, "it is away", error_type=error_type)
    letters = [stage.letter(delivery(number, key=b"%d" % number)) for number in range(3)]
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == len(letters))
        run = stage.run_of(task_of(rate_per_s=1_000.0))
        async with started(run.run()) as working:
            await clock.run_until(lambda: clock.monotonic_s() > 600)
            assert run.progress.state == "waiting"
            assert run.progress.reason == TROUBLE.format(kind.value, "it is away")
            assert len(stage.target.runs) < 600, "not all the time"
            stage.target.default = SUCCEEDED
            await clock.run_until(working.done)
        await until(lambda: {stage.state(one) for one in letters} == {LetterState.REDRIVEN})
    assert stage.ends == [("task-1", 3, 0, "")]


@pytest.mark.parametrize("kind", [OutcomeKind.NO_ANSWER, OutcomeKind.UNREACHABLE])
@pytest.mark.parametrize("order", [DeliveryOrder.KEY, DeliveryOrder.PARTITION])
async def test_a_letter_without_an_answer_dies_again_if_others_have_one_meanwhile(
    kind: OutcomeKind, order: DeliveryOrder
) -> None:
    clock = ManualClock()
    stage = Stage(clock)
    stage.ready = replace(SUBSCRIBER, order=order)
    letters = [
        stage.letter(delivery(number, partition=number // 4, key=b"%d" % (number // 2)))
        for number in range(40)
    ]
    poison = b"value-0"
    stage.target.answers[poison].extend([failed(kind, "gone")] * 100)
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == len(letters))
        async with started(stage.run_of(task_of(rate_per_s=2.0)).run()) as working:
            await clock.run_until(working.done)
        await until(lambda: stage.state(letters[0]) is LetterState.DIED_AGAIN)
    assert clock.monotonic_s() < SUSPECT_AFTER_S + ATTEMPTS_MAX * DELAY_LONGEST_S, "soon"
    values = stage.target.values
    assert values.count(poison) < 50
    last = len(values) - values[::-1].index(poison)
    behind = {b"value-1"} if order is DeliveryOrder.KEY else {b"value-1", b"value-2", b"value-3"}
    assert behind.isdisjoint(values[:last]), "what waits for it keeps its order"
    assert Counter(values[last:]) | Counter(behind) == Counter(values[last:])
    assert stage.ends == [("task-1", 39, 1, "")]


async def test_a_letter_without_an_answer_dies_again_if_live_records_have_one_meanwhile() -> None:
    served, broker = Served(), MemoryBroker()
    async with running_pump(broker=broker, served=served) as live:
        stage = Stage(live.clock)
        stage.served = served
        letters = [stage.letter(delivery(number, key=b"one")) for number in range(2)]
        stage.target.default = failed(OutcomeKind.UNREACHABLE, "502")
        async with started(stage.reader.run()):
            await until(lambda: len(stage.index.letters) == len(letters))
            async with started(stage.run_of(task_of()).run()) as working:
                await live.clock.run_until(lambda: live.clock.monotonic_s() > 600)
                assert not working.done(), "it may be an outage"
                broker.append(b"live")
                await live.until_settled(1)
                await live.clock.run_until(lambda: b"value-1" in stage.target.values)
                stage.target.default = SUCCEEDED
                await live.clock.run_until(working.done)
    assert stage.ends == [("task-1", 1, 1, "")]


@pytest.mark.parametrize("kind", [kind for kind in OutcomeKind if kind not in OF_THE_TARGET])
def test_what_the_algorithm_itself_says_shows_that_it_serves(kind: OutcomeKind) -> None:
    assert is_answer(failed(kind, "no")) is (kind is not OutcomeKind.REFUSED)


async def test_a_letter_that_waits_for_long_holds_up_only_those_of_its_key() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    keys = [b"busy", b"busy", *(b"%d" % number for number in range(50)), b"busy"]
    letters = [stage.letter(delivery(number, key=key)) for number, key in enumerate(keys)]
    stage.target.answers[b"value-0"].extend([BUSY] * 1_000)
    others = {b"value-%d" % number for number in range(2, 52)}
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == len(letters))
        run = stage.run_of(task_of())
        async with started(run.run()) as working:
            await clock.run_until(lambda: others <= set(stage.target.values))
            await clock.run_until(lambda: clock.monotonic_s() > 600)
            assert set(stage.target.values) == others | {b"value-0"}
            assert run.progress.left == 3
            stage.target.answers[b"value-0"].clear()
            await clock.run_until(working.done)
    assert stage.target.values[-3:] == [b"value-0", b"value-1", b"value-52"]
    assert Counter(stage.target.values) - Counter([b"value-0"] * 1_000) == Counter(
        [*others, b"value-1", b"value-52"]
    ), "each of them once"
    assert stage.ends == [("task-1", len(letters), 0, "")]


async def test_a_letter_that_waits_leaves_the_calls_of_its_flow_to_others() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    stage.ready = replace(SUBSCRIBER, concurrency_max=1)
    for number in range(4):
        stage.letter(delivery(number, key=b"%d" % number))
    stage.target.answers[b"value-0"].extend([BUSY] * 1_000)
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == 4)
        async with started(stage.run_of(task_of()).run()):
            await clock.run_until(lambda: len(set(stage.target.values)) == 4)
            await clock.run_until(lambda: clock.monotonic_s() > 60)
    assert stage.target.at_once_max == 1


@pytest.mark.parametrize("kind", [OutcomeKind.NO_ANSWER, OutcomeKind.UNREACHABLE])
async def test_a_target_that_is_gone_for_a_moment_costs_no_letter_although_it_served_others(
    kind: OutcomeKind,
) -> None:
    clock = ManualClock()
    stage = Stage(clock)
    for number in range(20):
        stage.letter(delivery(number, key=b"%d" % number))
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == 20)
        stage.target.answers[b"value-0"].append(failed(kind, "this instance is away"))
        async with started(stage.run_of(task_of(rate_per_s=10.0)).run()) as working:
            await clock.run_until(lambda: b"value-1" in stage.target.values)
            stage.target.default = failed(kind, "all of them are")
            await clock.run_until(lambda: clock.monotonic_s() > SUSPECT_AFTER_S - 1)
            assert stage.target.values.count(b"value-0") > ATTEMPTS_MAX
            stage.target.default = SUCCEEDED
            await clock.run_until(working.done)
    assert stage.ends == [("task-1", 20, 0, "")]


@pytest.mark.parametrize("kind", OF_THE_TARGET)
async def test_an_outage_that_begins_in_a_redrive_costs_no_letter(kind: OutcomeKind) -> None:
    clock = ManualClock()
    stage = Stage(clock)
    for number in range(20):
        stage.letter(delivery(number, key=b"%d" % number))
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == 20)
        stage.target.hold(b"value-3")
        async with started(stage.run_of(task_of(rate_per_s=10.0)).run()) as working:
            await clock.run_until(lambda: len(stage.target.runs) == 5)
            stage.target.default = failed(kind, "it is away")
            stage.target.answers[b"value-3"].append(SUCCEEDED)
            await clock.run_until(lambda: clock.monotonic_s() > 10)
            await stage.target.let_go(b"value-3")  # it had begun before, and ends now
            await clock.run_until(lambda: clock.monotonic_s() > 600)
            stage.target.default = SUCCEEDED
            await clock.run_until(working.done)
    assert stage.ends == [("task-1", 20, 0, "")]


async def test_an_endpoint_that_fails_at_a_letter_does_not_hold_up_its_redrive() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    letter = stage.letter(delivery(0))
    stage.target.default = failed(OutcomeKind.UNREACHABLE, "500", error_type=ENDPOINT_ERROR)
    async with started(stage.reader.run()):
        await until(lambda: letter in stage.index.letters)
        async with started(stage.run_of(task_of()).run()) as working:
            await clock.run_until(working.done)
        await until(lambda: stage.state(letter) is LetterState.DIED_AGAIN)
    assert len(stage.target.runs) == ATTEMPTS_MAX


async def test_a_flows_own_rules_say_how_long_its_redrive_waits_for_the_target() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    rules = (
        RetryRule(failure=OutcomeKind.OVERLOADED, attempts_max=7, give_up=GiveUp.HALT_KEY),
        RetryRule(attempts_max=9, give_up=GiveUp.HALT_FLOW),
    )
    stage.ready = replace(SUBSCRIBER, retries=RetryPolicy(rules=rules))
    busy, away, slow = (stage.letter(delivery(number)) for number in range(3))
    for value, kind in (
        (b"value-0", OutcomeKind.OVERLOADED),
        (b"value-1", OutcomeKind.UNREACHABLE),
        (b"value-2", OutcomeKind.TIMED_OUT),
    ):
        stage.target.answers[value].extend([failed(kind, "no")] * 100)
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == 3)
        async with started(stage.run_of(task_of()).run()) as working:
            await clock.run_until(working.done)
        await until(
            lambda: {stage.state(one) for one in (busy, away, slow)} == {LetterState.DIED_AGAIN}
        )
    assert Counter(stage.target.values) == {b"value-0": 7, b"value-1": 9, b"value-2": 5}


async def test_the_selection_decides(stage: Stage) -> None:
    stage.letter(delivery(1), kind=OutcomeKind.CRASHED)
    stage.letter(delivery(2))
    stage.letter(delivery(3), kind=OutcomeKind.CRASHED, spec=replace(SUBSCRIBER, flow_id="other"))
    selection = DeadLetterSelection(failure=FailureClass.CRASHED)
    await carried_out(stage.run_of(task_of(selection=selection)))
    assert [run.delivery.offset for run in stage.target.runs] == [1]


async def test_a_clock_that_is_ahead_hides_no_letter_from_a_redrive(stage: Stage) -> None:
    stage.letter(delivery(1), at=START + timedelta(days=9))
    await carried_out(stage.run_of(task_of()))
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_a_purge_leaves_what_died_after_its_request(stage: Stage) -> None:
    before = stage.letter(delivery(1), at=START)
    after = stage.letter(delivery(2), at=START + timedelta(hours=2))
    await carried_out(stage.run_of(task_of(kind=DeadLetterTaskKind.PURGE)))
    assert stage.state(before) is LetterState.PURGED
    assert stage.state(after) is LetterState.OPEN


async def test_what_dies_after_the_beginning_waits_for_the_next_redrive(stage: Stage) -> None:
    stage.letter(delivery(1))
    stage.ready = "the flow is paused"
    run = stage.run_of(task_of())
    async with started(run.run()) as working:
        await until(lambda: run.progress.reason == "the flow is paused")
        after = stage.letter(delivery(2))
        await until(lambda: after in stage.index.letters)
        stage.ready = SUBSCRIBER
        await until(working.done)
    assert [one.delivery.offset for one in stage.target.runs] == [1]
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_a_letter_that_dies_again_and_is_too_large_waits_for_a_larger_topic(
    stage: Stage,
) -> None:
    stage.letter(delivery(1))
    stage.target.default = BROKEN
    stage.write_failures.append(TooLarge("no topic takes it"))
    await carried_out(stage.run_of(task_of()))
    assert stage.ends == [("task-1", 0, 1, "")]


async def test_another_version_runs_them(stage: Stage) -> None:
    stage.letter(delivery(1))
    await carried_out(stage.run_of(task_of(algorithm_version="2.0.0")))
    (spec,) = stage.opened
    assert isinstance(spec.target, AlgorithmTargetSpec)
    assert (spec.target.version, spec.version) == ("2.0.0", "2.0.0")


async def test_letters_of_a_key_keep_their_order_and_never_run_at_once() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    values = [b"value-%d" % number for number in range(1, 6)]
    for offset in (5, 3, 4, 1, 2):
        stage.letter(delivery(offset, key=b"k"), partition=offset % 2)
    stage.target.hold(*values)
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == 5)
        async with started(stage.run_of(task_of()).run()):
            for number, value in enumerate(values, 1):
                await stage.target.until_runs(number)
                clock.advance(1.0)  # the rate would let the next ones go
                await let_others_run()
                assert stage.target.values == values[:number]
                await stage.target.let_go(value)
                clock.advance(1.0)
            await stage.target.until_ended(5)


async def test_different_keys_run_at_the_same_time(stage: Stage) -> None:
    values = [f"value-{number}".encode() for number in range(4)]
    for number in range(4):
        stage.letter(delivery(number, key=b"%d" % number))
    stage.target.hold(*values)
    async with started(stage.run_of(task_of()).run()):
        await stage.target.until_runs(4)
        await stage.target.let_go(*values)


async def test_no_more_letters_run_at_once_than_the_flow_allows() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    stage.ready = replace(SUBSCRIBER, concurrency_max=2)
    values = [f"value-{number}".encode() for number in range(4)]
    for number in range(4):
        stage.letter(delivery(number, key=b"%d" % number))
    stage.target.hold(*values)
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == 4)
        async with started(stage.run_of(task_of()).run()):
            for _ in values:
                await let_others_run()
                clock.advance(1.0)
            await let_others_run()
            assert len(stage.target.runs) == 2
            await stage.target.let_go(values[0])
            await stage.target.until_runs(3)
            await stage.target.let_go(*values[1:])


async def test_letters_go_at_the_rate_that_was_asked_for() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    for number in range(3):
        stage.letter(delivery(number, key=None))
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == 3)
        async with started(stage.run_of(task_of(rate_per_s=2.0)).run()):
            await stage.target.until_ended(1)
            clock.advance(0.4)
            await let_others_run()
            assert len(stage.target.runs) == 1
            clock.advance(0.2)
            await stage.target.until_ended(2)


async def test_whoever_takes_over_sends_only_what_has_no_mark(stage: Stage) -> None:
    letters = [stage.letter(delivery(number)) for number in range(6)]
    stage.target.hold(b"value-3")
    async with started(stage.run_of(task_of()).run()):
        await stage.target.until_runs(4)  # killed in the fourth, with three marks written
    await stage.target.let_go(b"value-3")
    await carried_out(stage.run_of(task_of()))
    assert stage.target.values == [f"value-{n}".encode() for n in (0, 1, 2, 3, 3, 4, 5)]
    assert {stage.state(letter) for letter in letters} == {LetterState.REDRIVEN}
    assert stage.ends == [("task-1", 6, 0, "")]


async def test_whoever_takes_over_takes_also_what_died_in_between(stage: Stage) -> None:
    stage.letter(delivery(0))
    stage.target.hold(b"value-0")
    async with started(stage.run_of(task_of()).run()):
        await stage.target.until_runs(1)
    await stage.target.let_go(b"value-0")
    stage.letter(delivery(1))
    await carried_out(stage.run_of(task_of()))
    assert stage.target.values == [b"value-0", b"value-0", b"value-1"]


async def test_a_clean_stop_lets_what_runs_end_and_get_its_mark(stage: Stage) -> None:
    letters = [stage.letter(delivery(number, key=b"%d" % number)) for number in range(3)]
    stage.target.hold(b"value-0", b"value-1")
    run = stage.run_of(task_of(rate_per_s=1_000.0))
    stage.ready = replace(SUBSCRIBER, concurrency_max=2)
    async with started(run.run()) as working:
        await stage.target.until_runs(2)
        run.stop()
        await let_others_run()
        await stage.target.let_go(b"value-0", b"value-1")
        await until(working.done)
    assert stage.ends == []
    assert set(stage.target.values) == {b"value-0", b"value-1"}
    await until(lambda: stage.state(letters[1]) is LetterState.REDRIVEN)
    await carried_out(stage.run_of(task_of()))
    assert stage.target.values[2:] == [b"value-2"], "whoever goes on repeats nothing"
    assert stage.ends == [("task-1", 3, 0, "")]


async def test_a_stop_waits_no_longer_than_the_drain_bound(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_task, "DRAIN_S", 0.01)
    letter = stage.letter(delivery(1))
    stage.target.hold(b"value-1")
    run = stage.run_of(task_of())
    async with started(run.run()) as working:
        await stage.target.until_runs(1)
        run.stop()
        await until(working.done)
    assert stage.state(letter) is LetterState.OPEN
    assert stage.figures.totals({}).in_flight == 0


async def test_a_stop_leaves_a_letter_between_two_attempts_open_at_once() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    stage.target.default = BUSY
    letter = stage.letter(delivery(1))
    run = stage.run_of(task_of())
    async with started(stage.reader.run()):
        await until(lambda: letter in stage.index.letters)
        async with started(run.run()) as working:
            await stage.target.until_ended(1)
            await let_others_run()
            run.stop()
            await until(working.done)
    assert stage.state(letter) is LetterState.OPEN
    assert len(stage.target.runs) == 1


async def test_attempts_of_a_redrive_are_calls_of_the_workers_budget(stage: Stage) -> None:
    stage.budget.calls_open_max = 1
    flow = stage.budget.share(lambda: None)
    assert flow.take_call()
    stage.letter(delivery(1, key=b"a"))
    stage.letter(delivery(2, key=b"b"))
    async with started(stage.run_of(task_of()).run()) as working:
        await until(lambda: bool(stage.budget.waiting))
        await let_others_run()
        assert stage.target.runs == []
        flow.free_call()
        await until(working.done)
    assert len(stage.target.runs) == 2
    assert (stage.budget.calls_open, stage.budget.bytes_held) == (0, 0)


async def test_a_flow_that_is_paused_while_its_redrive_waits_for_a_call_begins_no_attempt(
    stage: Stage,
) -> None:
    stage.budget.calls_open_max = 1
    flow = stage.budget.share(lambda: None)
    assert flow.take_call()
    stage.letter(delivery(1))
    run = stage.run_of(task_of())
    async with started(run.run()) as working:
        await until(lambda: bool(stage.budget.waiting))
        stage.ready = "the flow is paused"
        flow.free_call()
        await until(lambda: run.progress.reason == "the flow is paused")
        assert (stage.target.runs, stage.budget.calls_open) == ([], 0)
        stage.ready = SUBSCRIBER
        await until(working.done)
    assert len(stage.target.runs) == 1


async def test_whoever_waits_for_a_call_and_is_broken_off_gives_up_its_place(stage: Stage) -> None:
    stage.budget.calls_open_max = 1
    assert stage.budget.share(lambda: None).take_call()
    stage.letter(delivery(1))
    async with started(stage.run_of(task_of()).run()):
        await until(lambda: bool(stage.budget.waiting))
    assert not stage.budget.waiting
    assert stage.budget.bytes_held == 0


async def test_letters_in_work_hold_a_bounded_number_of_bytes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters_at_work, "BYTES_AT_ONCE_MAX", 20)
    values = [b"%d" % number * 9 for number in range(4)]
    for number, value in enumerate(values):
        stage.letter(delivery(number, key=b"%d" % number, value=value))
    stage.target.hold(*values)
    async with started(stage.run_of(task_of()).run()) as working:
        await stage.target.until_runs(2)
        await let_others_run()
        assert len(stage.target.runs) == 2
        assert stage.budget.bytes_held == 2 * (RECORD_HELD_BYTES + 10)
        await stage.target.let_go(*values)
        await until(working.done)


def waits_for_memory(run: TaskRun) -> bool:
    return run.progress.reason.startswith("waits for memory")


async def test_the_redrives_of_a_worker_hold_a_bounded_number_of_bytes_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(letter_bytes, "WORKER_BYTES_MAX", 25)
    monkeypatch.setattr(letter_bytes, "FIRST_BYTES_MAX", 5)
    clock = ManualClock()
    stage = Stage(clock)
    sizes = {"flow-1": (9, 9, 9), "flow-2": (4, 4), "flow-3": (9,)}
    values = {flow: [flow[-1:].encode() * size for size in each] for flow, each in sizes.items()}
    for flow_id, each in values.items():
        spec = replace(SUBSCRIBER, flow_id=flow_id)
        for number, value in enumerate(each):
            stage.letter(delivery(number, key=b"%d" % number, value=value), spec=spec)
    stage.target.hold(*(value for each in values.values() for value in each))
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == 6)
        runs = [stage.run_of(task_of(f"task-{flow}", flow_id=flow)) for flow in sizes]
        async with AsyncExitStack() as stack:
            working = []
            for run in runs:
                working.append(await stack.enter_async_context(started(run.run())))
                await clock.run_until(partial(waits_for_memory, run))
            assert Counter(stage.target.values) == Counter(
                {values["flow-1"][0]: 2, values["flow-2"][0]: 1}
            ), "the first small one of a task has room beside the limit, a larger one waits"
            assert stage.held.held == 2 * 9 + 4
            await stage.target.let_go(*(value for each in values.values() for value in each))
            await clock.run_until(lambda: all(each.done() for each in working))
    assert stage.held.held == 0
    assert {succeeded for _, succeeded, _, _ in stage.ends} == {3, 2, 1}


async def test_what_redrives_and_purges_come_to_is_counted(stage: Stage) -> None:
    stage.letter(delivery(1, value=b"bad"))
    stage.letter(delivery(2))
    stage.target.answers[b"bad"].extend([BUSY, BAD])
    await carried_out(stage.run_of(task_of()))
    await carried_out(stage.run_of(task_of("task-2", kind=DeadLetterTaskKind.PURGE)))
    totals = stage.figures.totals({"working": 2})
    assert totals.attempts == {
        OutcomeKind.OVERLOADED: 1,
        OutcomeKind.ALGORITHM_ERROR: 1,
        OutcomeKind.SUCCEEDED: 1,
    }
    assert totals.letters[LetterState.REDRIVEN] == totals.letters[LetterState.DIED_AGAIN] == 1
    assert (totals.in_flight, totals.tasks) == (0, {"working": 2})
    counts, _ = stage.durations.snapshot()
    assert sum(counts) == 3


async def test_a_redrive_waits_until_the_index_has_read_all_marks() -> None:
    stage = Stage()
    letter = stage.letter(delivery(1))
    async with started(stage.reader.run()):
        await until(lambda: letter in stage.index.letters)
    await stage.topic.write(letter, LetterState.REDRIVEN, task_id="task-1")
    run = stage.run_of(task_of())
    async with started(run.run()) as working:
        await until(lambda: run.progress.reason == index_watch.NOT_READ_YET)
        async with started(stage.reader.run()):
            await until(working.done)
    assert stage.target.runs == []
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_a_flow_that_may_not_run_makes_the_task_wait_and_say_why(stage: Stage) -> None:
    stage.letter(delivery(1))
    stage.ready = "the flow is paused"
    run = stage.run_of(task_of())
    async with started(run.run()) as working:
        await until(lambda: run.progress.reason == "the flow is paused")
        assert (run.progress.state, run.progress.left) == ("waiting", 1)
        stage.ready = SUBSCRIBER
        await until(working.done)
    assert (run.progress.state, run.progress.succeeded, run.progress.left) == ("finished", 1, 0)


async def test_a_flow_that_was_deleted_ends_the_task(stage: Stage) -> None:
    stage.letter(delivery(1))
    stage.ready = None
    await carried_out(stage.run_of(task_of()))
    assert stage.ends == [("task-1", 0, 0, FLOW_GONE)]


async def test_a_task_that_finds_nothing_says_how_to_ask_for_the_flows_own_topic(
    stage: Stage,
) -> None:
    stage.own_topic = "rejects"
    await carried_out(stage.run_of(task_of()))
    assert stage.ends == [("task-1", 0, 0, IN_OWN_TOPIC.format("rejects"))]


async def test_a_topic_of_the_longest_name_does_not_keep_a_task_from_ending(stage: Stage) -> None:
    stage.own_topic = "r" * 249
    await carried_out(stage.run_of(task_of()))
    ((_, _, _, problem),) = stage.ends
    assert problem.startswith("none is in the internal topic")
    assert values.line("problem", problem)


@pytest.mark.parametrize("letter_id", ["9999999999-0", "0-9999999999999999999"])
async def test_a_question_that_cannot_be_meant_ends_its_task(stage: Stage, letter_id: str) -> None:
    selection = DeadLetterSelection(letter_ids=(letter_id,))
    await carried_out(stage.run_of(task_of(selection=selection)))
    ((_, succeeded, failed_, problem),) = stage.ends
    assert (succeeded, failed_) == (0, 0)
    assert problem.startswith("A letter id is")


async def test_a_paused_flow_begins_no_further_attempt_of_a_redrive(stage: Stage) -> None:
    stage.target.default = BUSY
    stage.letter(delivery(1))
    run = stage.run_of(task_of())
    async with started(run.run()) as working:
        await stage.target.until_ended(1)
        stage.ready = "the flow is paused"
        await until(lambda: run.progress.reason == "the flow is paused")
        assert len(stage.target.runs) == 1
        stage.target.default = SUCCEEDED
        stage.ready = SUBSCRIBER
        await until(working.done)
    assert [one.attempt for one in stage.target.runs] == [1, 2]
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_a_letter_whose_flow_was_deleted_between_attempts_stays_open(stage: Stage) -> None:
    stage.target.default = BUSY
    letter = stage.letter(delivery(1))
    async with started(stage.run_of(task_of()).run()) as working:
        await stage.target.until_ended(1)
        stage.ready = None
        await until(working.done)
    assert stage.state(letter) is LetterState.OPEN
    assert stage.ends == [("task-1", 0, 0, FLOW_GONE)]


@pytest.mark.parametrize("error", [TooLarge("raise max.message.bytes"), Unavailable("no Kafka")])
async def test_a_redrive_says_why_what_died_again_cannot_be_written(
    error: EventflowsError,
) -> None:
    clock = ManualClock()
    stage = Stage(clock)
    unwritable = stage.letter(delivery(1, value=b"bad", key=b"a"))
    others = [stage.letter(delivery(n, key=b"ab"[n % 2 : n % 2 + 1])) for n in range(2, 6)]
    stage.target.answers[b"bad"].append(BAD)
    stage.write_failures.extend([error] * 1_000)
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == 1 + len(others))
        run = stage.run_of(task_of())
        async with started(run.run()) as working:
            await clock.run_until(lambda: clock.monotonic_s() > 600)
            assert run.progress.state == "waiting"
            assert run.progress.reason == UNWRITTEN.format(error.message)
            behind = {f"value-{n}".encode() for n in (2, 4)}
            assert behind.isdisjoint(stage.target.values), "they wait for it"
            assert {b"value-3", b"value-5"} <= set(stage.target.values), "others do not"
            stage.write_failures.clear()
            await clock.run_until(working.done)
        await until(lambda: stage.state(unwritable) is LetterState.DIED_AGAIN)
    assert stage.target.values.count(b"bad") == 1
    assert stage.ends == [("task-1", len(others), 1, "")]


async def test_a_letter_that_cannot_be_written_does_not_outlive_its_flow() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    stage.target.default = BAD
    stage.write_failures.extend([TooLarge("raise max.message.bytes")] * 1_000)
    letter = stage.letter(delivery(1))
    async with started(stage.reader.run()):
        await until(lambda: letter in stage.index.letters)
        run = stage.run_of(task_of())
        async with started(run.run()) as working:
            await clock.run_until(lambda: clock.monotonic_s() > 60)
            stage.ready = "the flow is paused"
            await clock.run_until(lambda: clock.monotonic_s() > 120)
            assert not working.done()
            assert run.progress.reason == UNWRITTEN.format("raise max.message.bytes")
            stage.ready = None
            await clock.run_until(working.done)
    assert stage.state(letter) is LetterState.OPEN
    assert stage.ends == [("task-1", 0, 0, FLOW_GONE)]


async def test_a_letter_that_cannot_be_written_goes_on_by_the_changed_flow() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    stage.target.default = BAD
    stage.write_failures.extend([TooLarge("raise max.message.bytes")] * 1_000)
    letter = stage.letter(delivery(1))
    async with started(stage.reader.run()):
        await until(lambda: letter in stage.index.letters)
        async with started(stage.run_of(task_of()).run()) as working:
            await clock.run_until(lambda: clock.monotonic_s() > 60)
            stage.write_failures.clear()
            stage.ready = replace(
                SUBSCRIBER, dead_letter_topic="large", dead_letter_connection_id="c-1"
            )
            await clock.run_until(working.done)
    assert [spec.dead_letter_topic for spec in stage.opened] == [None, "large"]
    assert stage.ends == [("task-1", 0, 1, "")]


async def test_a_purge_marks_and_needs_no_flow(stage: Stage) -> None:
    stage.ready = None
    letter = stage.letter(delivery(1))
    await carried_out(stage.run_of(task_of(kind=DeadLetterTaskKind.PURGE)))
    assert stage.target.runs == []
    assert stage.state(letter) is LetterState.PURGED
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_what_is_away_delays_a_task_and_ends_nothing(stage: Stage) -> None:
    stage.letter(delivery(1))
    stage.fails_to_finish = 2
    stage.index.away = "no database"
    run = stage.run_of(task_of())
    async with started(run.run()) as working:
        await until(lambda: run.progress.reason == "no database")
        stage.index.away = None
        await until(working.done)
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_a_changed_flow_is_redriven_as_it_is_now(stage: Stage) -> None:
    for number in range(3):
        stage.letter(delivery(number))
    stage.target.hold(b"value-0")
    async with started(stage.run_of(task_of()).run()) as working:
        await stage.target.until_runs(1)
        stage.ready = replace(SUBSCRIBER, timeout_s=9)
        await stage.target.let_go(b"value-0")
        await until(working.done)
    assert [spec.timeout_s for spec in stage.opened] == [0, 9]


async def test_letters_that_wait_for_a_target_go_on_by_the_changed_flow_in_their_order() -> None:
    clock = ManualClock()
    stage = Stage(clock)
    stage.target.default = failed(OutcomeKind.UNREACHABLE, "this version is gone")
    for number in range(4):
        stage.letter(delivery(number, key=b"%d" % (number % 2)))
    async with started(stage.reader.run()):
        await until(lambda: len(stage.index.letters) == 4)
        async with started(stage.run_of(task_of()).run()) as working:
            await clock.run_until(lambda: clock.monotonic_s() > 100)
            assert set(stage.target.values) == {b"value-0", b"value-1"}, "their keys wait"
            stage.ready, tried = replace(SUBSCRIBER, timeout_s=9), len(stage.target.runs)
            stage.target.default = SUCCEEDED
            await clock.run_until(working.done)
    assert [spec.timeout_s for spec in stage.opened] == [0, 9]
    last = stage.target.values[tried:]
    assert Counter(last) == Counter(b"value-%d" % number for number in range(4))
    assert last.index(b"value-0") < last.index(b"value-2")
    assert last.index(b"value-1") < last.index(b"value-3")
    assert stage.ends == [("task-1", 4, 0, "")]


async def test_a_letter_whose_record_is_gone_is_passed_over(stage: Stage) -> None:
    gone = stage.letter(delivery(1))
    stage.letter(delivery(2))
    await until(lambda: len(stage.index.letters) == 2)
    stage.topic.expire(0, 1)
    await carried_out(stage.run_of(task_of()))
    assert stage.target.values == [b"value-2"]
    assert stage.state(gone) is LetterState.OPEN


def test_a_bucket_lets_through_its_rate_and_saves_nothing_up() -> None:
    bucket = TokenBucket(4.0, now_s=100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [0.0, 0.25, 0.5]
    assert bucket.take(200.0) == 0.0
    assert bucket.take(200.1) == pytest.approx(0.15)


@settings(deadline=None)
@given(st.lists(st.integers(0, 120), max_size=5), st.integers(1, 8), st.sets(st.integers(0, 7)))
async def test_however_often_it_is_killed_every_letter_gets_one_mark_and_is_counted_once(
    kills: list[int], letters: int, dying: set[int]
) -> None:
    """Killed between any two steps: after so many turns of the loop, again and again."""
    stage = Stage()
    written = [stage.letter(delivery(n, key=b"%d" % (n % 3))) for n in range(letters)]
    dying = {number for number in dying if number < letters}
    for number in dying:
        stage.target.answers[b"value-%d" % number].extend([BAD] * 50)
    async with started(stage.reader.run()):
        for turns in kills:
            async with started(stage.run_of(task_of()).run()):
                for _ in range(turns):
                    await asyncio.sleep(0)
        await carried_out(stage.run_of(task_of()))
    assert stage.ends[-1] == ("task-1", letters - len(dying), len(dying), "")
    assert len(set(stage.ends)) == 1
    states = {stage.index.letters[letter].state for letter in written}
    assert LetterState.OPEN not in states
    offsets = [run.delivery.offset for run in stage.target.runs]
    assert set(offsets) == set(range(letters))
    assert len(offsets) <= letters + len(kills) * letters
    ids = {(run.delivery.offset, run.request_id) for run in stage.target.runs}
    assert len(ids) == letters, "a repeat has the same request id"
