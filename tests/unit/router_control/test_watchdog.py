"""When a flow is stuck, what is done about it, and when that is a reason to end the worker."""

from __future__ import annotations

from dataclasses import replace

import pytest
from router.domain.status import LAG_UNKNOWN, PumpState, PumpStatus
from router.domain.watchdog import (
    BACKING_OFF_MAX_S,
    LOOK_MAX_S,
    STALL_MAX_S,
    WORKER_UPTIME_LONG_S,
    WORKER_UPTIME_MIN_S,
    Verdict,
    Watchdog,
    is_impaired,
    worth_a_restart,
)

from tests.support.manual_clock import BEGINNING

RUN_MAX_S = 300
REST_MAX_S = 3_900
WAITING = PumpStatus(
    flow_id="a",
    state=PumpState.RUNNING,
    reason="",
    since=BEGINNING,
    last_progress=None,
    lag_records=7,
    in_flight=0,
    settled_total=0,
    dead_lettered_total=0,
    retries_total=0,
    partitions=1,
    progress_total=5,
)


def watch(dog: Watchdog, status: PumpStatus, seconds: float) -> list[Verdict]:
    """What it says in so many seconds, a look each second; runs of the same said once."""
    said: list[Verdict] = []
    for _ in range(round(seconds)):
        verdict = dog.look(status, run_max_s=RUN_MAX_S, rest_max_s=REST_MAX_S, elapsed_s=1)
        if said[-1:] != [verdict]:
            said.append(verdict)
    return said


def first_restart_s(status: PumpStatus) -> int | None:
    """Seconds until the source is opened anew; None: not within two hours."""
    dog = Watchdog()
    for second in range(7200):
        if (
            dog.look(status, run_max_s=RUN_MAX_S, rest_max_s=REST_MAX_S, elapsed_s=1)
            is not Verdict.WELL
        ):
            return second
    return None


def test_lag_without_progress_has_the_source_opened_anew_after_a_minute() -> None:
    assert first_restart_s(WAITING) == STALL_MAX_S


def test_records_that_are_held_wait_as_well() -> None:
    assert first_restart_s(replace(WAITING, lag_records=0, oldest_unsettled_s=1)) == STALL_MAX_S


def test_a_source_that_did_not_help_leaves_the_flow_stuck() -> None:
    dog = Watchdog()
    said = watch(dog, WAITING, STALL_MAX_S * 3 + 5)
    assert said == [
        Verdict.WELL,
        Verdict.RESTART_SOURCE,
        Verdict.STALLED,
        Verdict.STUCK,
        Verdict.STALLED,
    ]


def test_a_source_is_opened_anew_ever_more_rarely() -> None:
    dog = Watchdog()
    hours = [
        dog.look(WAITING, run_max_s=RUN_MAX_S, rest_max_s=REST_MAX_S, elapsed_s=1)
        for _ in range(24 * 3600)
    ]
    assert hours.count(Verdict.STUCK) < 30


def test_whatever_ends_makes_it_well() -> None:
    dog = Watchdog()
    watch(dog, WAITING, 2 * STALL_MAX_S)
    moved = replace(WAITING, progress_total=6)
    assert watch(dog, moved, STALL_MAX_S - 1) == [Verdict.WELL]


def test_a_flow_for_which_nothing_waits_is_well() -> None:
    assert first_restart_s(replace(WAITING, lag_records=0)) is None


@pytest.mark.parametrize(
    "state",
    [
        PumpState.PAUSED,
        PumpState.HALTED,
        PumpState.STOPPED,
        PumpState.FAILED,
        PumpState.BLOCKED,
    ],
)
def test_a_flow_that_waits_for_a_person_is_not_judged(state: PumpState) -> None:
    assert first_restart_s(replace(WAITING, state=state)) is None


def test_a_pump_that_does_not_end_is_stuck() -> None:
    dog = Watchdog()
    said = watch(dog, replace(WAITING, state=PumpState.DRAINING), 3 * STALL_MAX_S + 1)
    assert said[-1] is Verdict.STUCK


HALTED = replace(WAITING, state=PumpState.HALTED, halted_keys=1, oldest_unsettled_s=1)
RESTING = replace(WAITING, resting=1, oldest_unsettled_s=1)


def test_what_stands_behind_a_halted_key_is_not_judged() -> None:
    assert first_restart_s(HALTED) is None
    assert first_restart_s(replace(HALTED, state=PumpState.BACKING_OFF)) is None


@pytest.mark.parametrize("waiting", [HALTED, RESTING], ids=["halted", "resting"])
def test_what_a_halt_or_a_rest_does_not_hold_back_is_judged_as_ever(waiting: PumpStatus) -> None:
    assert first_restart_s(replace(waiting, receivable=1)) == STALL_MAX_S
    assert first_restart_s(replace(waiting, ready=1)) == STALL_MAX_S
    assert first_restart_s(replace(waiting, in_flight=1)) == RUN_MAX_S + STALL_MAX_S


@pytest.mark.parametrize("waiting", [HALTED, RESTING], ids=["halted", "resting"])
def test_records_that_come_and_wait_behind_others_are_no_stall(waiting: PumpStatus) -> None:
    dog = Watchdog()
    for received in range(10 * round(STALL_MAX_S)):
        came = replace(waiting, receivable=1, received_total=received)
        assert watch(dog, came, 1) == [Verdict.WELL]


def test_a_moment_in_which_something_else_waits_is_not_judged_by_the_rest_before() -> None:
    dog = Watchdog()
    for _ in range(10):
        assert watch(dog, RESTING, STALL_MAX_S * 2) == [Verdict.WELL]
        assert watch(dog, replace(RESTING, receivable=1), 5) == [Verdict.WELL]


def test_a_pump_that_ends_is_judged_although_a_key_halts() -> None:
    assert first_restart_s(replace(HALTED, state=PumpState.DRAINING)) == STALL_MAX_S


def test_a_run_may_take_its_time_limit() -> None:
    assert first_restart_s(replace(WAITING, in_flight=1)) == RUN_MAX_S + STALL_MAX_S


def test_a_flow_in_trouble_may_take_as_long_as_its_longest_pause() -> None:
    assert first_restart_s(replace(WAITING, state=PumpState.BACKING_OFF)) == BACKING_OFF_MAX_S


def test_a_delivery_may_rest_as_long_as_its_flows_rules_let_it() -> None:
    assert first_restart_s(replace(WAITING, resting=1)) == REST_MAX_S + STALL_MAX_S


def test_a_lag_that_cannot_be_measured_is_no_trouble_while_the_source_is_found_empty() -> None:
    dog = Watchdog()
    for polls in range(600):
        idle = replace(WAITING, lag_records=LAG_UNKNOWN, polls_empty_total=polls)
        assert (
            dog.look(idle, run_max_s=RUN_MAX_S, rest_max_s=REST_MAX_S, elapsed_s=1) is Verdict.WELL
        )


def test_a_flow_that_never_starts_is_stalled() -> None:
    starting = replace(WAITING, state=PumpState.STARTING, lag_records=LAG_UNKNOWN)
    assert first_restart_s(starting) == STALL_MAX_S


def test_waiting_for_a_turn_to_be_opened_does_not_count() -> None:
    queued = replace(WAITING, state=PumpState.STARTING, lag_records=LAG_UNKNOWN, queued=True)
    dog = Watchdog()
    assert watch(dog, replace(queued, queued=False), STALL_MAX_S) == [Verdict.WELL]
    assert watch(dog, queued, 10 * STALL_MAX_S) == [Verdict.WELL]
    assert watch(dog, replace(queued, queued=False), 1) == [Verdict.RESTART_SOURCE]


def test_an_empty_poll_does_not_prove_that_the_new_source_works() -> None:
    dog = Watchdog()
    watch(dog, WAITING, STALL_MAX_S + 1)
    opened = replace(WAITING, lag_records=LAG_UNKNOWN, polls_empty_total=1)
    assert watch(dog, opened, 1) == [Verdict.STALLED]
    assert Verdict.STUCK in watch(dog, replace(WAITING, polls_empty_total=1), 2 * STALL_MAX_S + 1)


def test_time_in_which_the_process_was_frozen_does_not_count() -> None:
    dog = Watchdog()
    for _ in range(int(STALL_MAX_S / LOOK_MAX_S)):
        assert (
            dog.look(WAITING, run_max_s=RUN_MAX_S, rest_max_s=REST_MAX_S, elapsed_s=3600)
            is Verdict.WELL
        )
    assert (
        dog.look(WAITING, run_max_s=RUN_MAX_S, rest_max_s=REST_MAX_S, elapsed_s=3600)
        is Verdict.RESTART_SOURCE
    )


SOON, LATE = WORKER_UPTIME_MIN_S, WORKER_UPTIME_LONG_S


@pytest.mark.parametrize(
    ("stuck", "hopeless", "uptime_s", "restarts"),
    [
        ({"a", "b"}, set(), SOON - 1, False),
        ({"a", "b"}, set(), SOON, True),
        ({"a"}, set(), SOON, False),
        ({"a"}, set(), LATE, True),
        ({"a"}, {"a"}, 1e9, False),
        ({"a", "b"}, {"a"}, SOON, True),
        ({"a", "b"}, {"a", "b"}, LATE - 1, False),
        ({"a", "b"}, {"a", "b"}, LATE, True),
        (set(), set(), 1e9, False),
    ],
)
def test_of_three_flows_these_are_a_reason_to_end_the_worker(
    stuck: set[str], hopeless: set[str], uptime_s: float, restarts: bool
) -> None:
    worth = worth_a_restart(stuck, flows=3, hopeless=hopeless, uptime_s=uptime_s)
    assert worth is restarts


def test_more_than_half_of_the_flows_make_the_worker_unready() -> None:
    assert not is_impaired(unhealthy=0, flows=0)
    assert not is_impaired(unhealthy=1, flows=2)
    assert is_impaired(unhealthy=2, flows=3)
