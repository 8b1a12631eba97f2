"""Nothing is dropped: what is given up is kept."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from router.adapters.memory_broker import MemoryBroker
from router.adapters.memory_dead_letters import MemoryDeadLetters
from router.domain.outcome import Outcome, OutcomeKind, failed
from router.domain.retry_policy import (
    AWAY_LONGEST_S,
    CRASHED_ATTEMPTS_MAX,
    TIMED_OUT_ATTEMPTS_MAX,
    RetryPolicy,
    RetryRule,
)
from router.domain.run_mode import RunMode
from router.domain.status import PumpState

from tests.support.router_flows import (
    SUBSCRIBER,
)
from tests.support.router_pumps import BROKEN, UNREACHABLE, Bench, running_pump


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


@pytest.mark.parametrize(("answers", "letters_in_all"), [([BROKEN], 2), ([], 1)])
async def test_promise_7_a_kill_between_a_letter_and_its_commit_has_the_record_run_again(
    answers: list[Outcome], letters_in_all: int
) -> None:
    """So it may leave two letters of a record, or a letter beside a success."""
    broker, letters = MemoryBroker(), MemoryDeadLetters()
    broker.append(b"bad")
    async with running_pump(broker=broker, dead_letters=letters) as killed:
        killed.target.answers[b"bad"].append(BROKEN)
        await killed.until_settled(1)
    assert broker.committed == {}
    async with running_pump(broker=broker, dead_letters=letters) as successor:
        successor.target.answers[b"bad"].extend(answers)
        await successor.until_committed(1)
        assert successor.target.values == [b"bad"]
    assert len(letters.letters) == letters_in_all
    assert len({dict(one.headers)["ef-dl-request-id"] for one in letters.letters}) == 1


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


async def test_promise_7_a_letter_that_cannot_be_written_is_tried_again_at_least_every_15_s() -> (
    None
):
    async with running_pump() as bench:
        bench.letters.away = "no broker"
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"bad")
        times_s = []
        for tries in range(1, 12):
            await bench.clock.run_until(partial(_tried, bench, tries), step_s=0.5)
            times_s.append(bench.clock.monotonic_s())
        longest_s = max(later - sooner for sooner, later in pairwise(times_s))
        assert AWAY_LONGEST_S - 1 <= longest_s <= AWAY_LONGEST_S + 1


async def test_promise_7_what_is_too_large_for_a_letter_halts_its_key_and_nothing_else() -> None:
    async with running_pump() as bench:
        bench.letters.value_bytes_max = 3
        bench.target.answers[b"large"].extend([BROKEN, BROKEN])
        bench.broker.append(b"large", key=b"a")
        bench.broker.append(b"behind", key=b"a")
        bench.broker.append(b"beside", key=b"b")
        await bench.until_state(PumpState.HALTED)
        await bench.until_settled(1)
        status = bench.pump.status()
        assert (bench.target.values, status.halted_keys) == ([b"large", b"beside"], 1)
        assert status.reason == (
            "a key was halted at topic-0@0 until a resume: dead_letter_too_large:"
            " the dead letter has 5 bytes: 3 are the most"
        )
        assert bench.letters.tries == 1, "nobody tries for ever what cannot be"
        assert bench.broker.committed.get(0, 0) == 0, "it is not passed over"
        bench.letters.value_bytes_max = None  # somebody raised the limit
        bench.pump.steer(RunMode.RUNNING, 11)
        await bench.until_committed(3)
        assert [letter.delivery.value for letter in bench.letters.letters] == [b"large"]
        assert bench.target.values[2:] == [b"large", b"behind"]


async def test_promise_7_a_letter_whose_topic_was_away_and_is_too_small_halts_its_key() -> None:
    async with running_pump() as bench:
        bench.letters.away, bench.letters.value_bytes_max = "no broker", 3
        bench.target.answers[b"large"].append(BROKEN)
        bench.broker.append(b"large", key=b"a")
        await bench.clock.run_until(lambda: bench.letters.tries == 2)
        bench.letters.away = None
        await bench.clock.run_until(lambda: bench.pump.status().state is PumpState.HALTED)


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


def _tried(bench: Bench, tries: int) -> bool:
    return bench.letters.tries >= tries
