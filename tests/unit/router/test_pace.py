"""How many calls a flow may have open while its target is in trouble."""

import pytest
from router.domain.outcome import Outcome, OutcomeKind, failed
from router.domain.pace import (
    AWAY_AFTER,
    SLOWED_TO,
    STOP_AFTER,
    WAIT_FIRST_S,
    WAIT_LONGEST_S,
    Pace,
    is_targets,
)

CALLS_MOST = 64
SUCCESSES = 5_000
REFUSED_OF_A_ROUND = 0.7
OVERLOADED = failed(OutcomeKind.OVERLOADED, "later")
AWAY = failed(OutcomeKind.UNREACHABLE, "nobody is there")


def test_failures_of_the_target_say_nothing_of_a_delivery() -> None:
    of_the_target = {kind for kind in OutcomeKind if is_targets(failed(kind, ""))}
    assert of_the_target == {
        OutcomeKind.OVERLOADED,
        OutcomeKind.UNREACHABLE,
        OutcomeKind.NO_ANSWER,
    }


def test_as_many_calls_as_ever_while_the_target_takes_everything() -> None:
    pace = Pace(CALLS_MOST)
    assert pace.calls_max == CALLS_MOST
    assert not pace.is_alert


def test_who_is_told_to_come_later_makes_fewer_calls_and_finds_out_slowly_what_is_taken() -> None:
    pace = Pace(CALLS_MOST)
    _fail(pace, OVERLOADED, calls_open=40)
    assert pace.calls_max == 40 * SLOWED_TO
    assert 40 < _successes_until(pace, 40) < 80
    assert 40 < _successes_until(pace, CALLS_MOST) < 120
    assert not pace.is_alert


def test_calls_that_began_before_are_no_second_reason_to_make_fewer() -> None:
    pace = Pace(CALLS_MOST)
    for who in range(STOP_AFTER - 1):
        _fail(pace, OVERLOADED, who=who, calls_open=40)
    assert pace.calls_max == 40 * SLOWED_TO
    for _ in range(40 - STOP_AFTER + 1):
        pace.succeeded(calls_open=30)
    before = pace.calls_max
    _fail(pace, OVERLOADED, calls_open=30)
    assert pace.calls_max < before


def test_calls_that_were_broken_off_hide_no_refusal_of_later_ones() -> None:
    pace = Pace(CALLS_MOST)
    _fail(pace, OVERLOADED, calls_open=40)
    pace.broken_off()
    _fail(pace, OVERLOADED, calls_open=20)
    assert pace.calls_max == 20 * SLOWED_TO


def test_few_calls_that_were_refused_are_many_again_in_twenty_rounds() -> None:
    pace, rounds = Pace(CALLS_MOST), 0
    _fail(pace, OVERLOADED, calls_open=1)
    assert pace.calls_max == 1
    while pace.is_alert:
        rounds += 1
        for _ in range(int(pace.calls_max)):
            pace.succeeded(calls_open=1)
    assert rounds < 20


def test_what_fails_otherwise_makes_the_calls_no_fewer_unless_nothing_else_comes() -> None:
    pace = Pace(CALLS_MOST)
    for who in range(100):
        _fail(pace, AWAY, who=who)
        pace.succeeded(calls_open=2)
    assert pace.calls_max == CALLS_MOST


def test_when_ten_deliveries_failed_in_a_row_one_call_at_a_time_finds_out() -> None:
    pace = Pace(CALLS_MOST)
    for who in range(STOP_AFTER - 1):
        _fail(pace, AWAY, who=who)
    assert pace.calls_max == CALLS_MOST
    _fail(pace, AWAY, who=STOP_AFTER)
    assert pace.calls_max == 0
    assert not pace.may_probe(calls_open=0, now_s=WAIT_FIRST_S - 0.01)
    assert pace.may_probe(calls_open=0, now_s=WAIT_FIRST_S)
    assert pace.calls_max == 1
    assert not pace.may_probe(calls_open=1, now_s=WAIT_FIRST_S), "it is on its way"


def test_a_delivery_that_fails_alone_stops_nobody() -> None:
    pace = Pace(CALLS_MOST)
    for _ in range(100):
        _fail(pace, AWAY, who="the same")
    assert pace.calls_max == CALLS_MOST


def test_waits_grow_up_to_a_limit() -> None:
    pace, now_s, waits = _stopped(AWAY), 0.0, []
    for who in range(10):
        began_s = now_s
        while not pace.may_probe(calls_open=0, now_s=now_s):
            now_s += 0.1
        waits.append(round(now_s - began_s))
        _fail(pace, AWAY, who=who, now_s=now_s)
    assert waits == [0, 0, 1, 2, 3, *[WAIT_LONGEST_S] * 5]


def test_calls_that_began_before_the_stop_make_no_wait_longer() -> None:
    pace = _stopped(AWAY)
    for who in range(50):
        _fail(pace, AWAY, who=who)
    assert pace.may_probe(calls_open=0, now_s=WAIT_FIRST_S)


def test_nobody_probes_before_the_time_that_was_asked_for() -> None:
    pace = _stopped(failed(OutcomeKind.OVERLOADED, "later", retry_after_s=30.0))
    assert not pace.may_probe(calls_open=0, now_s=29.9)
    assert pace.may_probe(calls_open=0, now_s=30.0)


def test_when_the_target_is_back_each_success_lets_two_begin() -> None:
    pace = _stopped(OVERLOADED)
    assert pace.may_probe(calls_open=0, now_s=WAIT_FIRST_S)
    assert pace.succeeded(calls_open=1), "it was away"
    assert pace.calls_max == 2
    for calls in range(2, CALLS_MOST):
        assert not pace.succeeded(calls_open=calls)
        assert pace.calls_max == calls + 1
    assert not pace.is_alert


def test_calls_that_are_open_when_one_succeeds_are_not_too_many() -> None:
    pace = _stopped(OVERLOADED)
    pace.succeeded(calls_open=20)
    assert pace.calls_max == 21


def test_a_probe_has_room_beside_long_calls() -> None:
    pace = _stopped(OVERLOADED)
    assert pace.may_probe(calls_open=9, now_s=WAIT_FIRST_S)
    assert pace.calls_max == 10


def test_a_success_after_few_failures_in_a_row_is_no_return() -> None:
    pace = Pace(CALLS_MOST)
    for _ in range(AWAY_AFTER - 1):
        _fail(pace, AWAY)
    assert not pace.succeeded(calls_open=1)
    for _ in range(AWAY_AFTER):
        _fail(pace, AWAY)
    assert pace.succeeded(calls_open=1)


@pytest.mark.parametrize("capacity", [1, 5, 16, 40, 63])
def test_a_target_that_takes_fewer_calls_is_used_well_and_refuses_few(capacity: int) -> None:
    pace, calls_open, refused, used = Pace(CALLS_MOST), 0, 0, 0
    for who in range(SUCCESSES):
        while calls_open < int(pace.calls_max) or pace.may_probe(calls_open=calls_open, now_s=who):
            calls_open += 1
            if calls_open <= capacity:
                continue
            refused += 1
            _fail(pace, OVERLOADED, who=refused, calls_open=calls_open, now_s=who)
            calls_open -= 1
        used += calls_open
        pace.succeeded(calls_open=calls_open)
        calls_open -= 1
    assert used / SUCCESSES > 0.7 * capacity
    assert refused / SUCCESSES < REFUSED_OF_A_ROUND / capacity


def _successes_until(pace: Pace, calls: float) -> int:
    count = 0
    while pace.calls_max < calls:
        pace.succeeded(calls_open=1)
        count += 1
    return count


def _fail(
    pace: Pace, outcome: Outcome, *, who: object = 0, calls_open: int = 64, now_s: float = 0.0
) -> None:
    pace.failed(outcome, who, calls_open=calls_open, now_s=now_s, chance=1.0)


def _stopped(outcome: Outcome) -> Pace:
    pace = Pace(CALLS_MOST)
    for who in range(STOP_AFTER):
        _fail(pace, outcome, who=who)
    assert pace.calls_max == 0
    return pace
