"""What a pump says about itself: states by their rank, figures of the last minute."""

from __future__ import annotations

import pytest
from router.application.run_durations import BOUNDS_S, RunDurations
from router.application.status_board import FAILURES_UNTIL_TROUBLE, StatusBoard, Trouble
from router.domain.outcome import OutcomeKind, failed
from router.domain.rates import WINDOW_S
from router.domain.run_mode import RunMode
from router.domain.status import PumpState, PumpStatus

from tests.support.manual_clock import ManualClock

AWAY = failed(OutcomeKind.UNREACHABLE, "the runner is away")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def board(clock: ManualClock) -> StatusBoard:
    """Of a flow that runs."""
    board = StatusBoard("a", clock)
    board.started()
    return board


def seen(board: StatusBoard) -> PumpStatus:
    return board.status(in_flight=0, partitions=1)


def test_a_pause_is_draining_until_nothing_is_left_to_end(board: StatusBoard) -> None:
    board.steered(RunMode.PAUSED, stands_still=False)
    assert seen(board).state is PumpState.DRAINING
    board.steered(RunMode.PAUSED, stands_still=True)
    assert seen(board).state is PumpState.PAUSED
    board.steered(RunMode.RUNNING, stands_still=False)
    assert seen(board).state is PumpState.RUNNING


def test_a_halted_flow_is_halted_whatever_else_ails_it(board: StatusBoard) -> None:
    board.trouble(Trouble.SOURCE, "away")
    board.halted("the rule for crashed", keys=0, whole=True)
    assert (seen(board).state, seen(board).reason) == (PumpState.HALTED, "the rule for crashed")
    board.halted("", keys=0)
    assert seen(board).state is PumpState.BACKING_OFF


def test_trouble_tells_more_than_a_halted_key(board: StatusBoard) -> None:
    board.halted("a key of partition 3", keys=1)
    assert (seen(board).state, seen(board).halted_keys) == (PumpState.HALTED, 1)
    board.trouble(Trouble.TARGET, "away")
    assert seen(board).state is PumpState.BACKING_OFF


def test_a_few_failures_in_a_row_are_a_state_and_a_success_ends_it(board: StatusBoard) -> None:
    for _ in range(FAILURES_UNTIL_TROUBLE):
        assert seen(board).state is PumpState.RUNNING
        board.retrying(AWAY)
    assert seen(board).reason == "unreachable: the runner is away"
    board.delivered()
    assert seen(board).state is PumpState.RUNNING


def test_rates_are_those_of_the_last_minute(board: StatusBoard, clock: ManualClock) -> None:
    for _ in range(60):
        clock.advance(1)
        for _ in range(3):
            board.delivered()
        board.retrying(AWAY)
        seen(board)
    assert seen(board).settled_per_s == pytest.approx(3)
    assert seen(board).error_ratio == pytest.approx(0.25)
    for _ in range(60):
        clock.advance(1)
        seen(board)
    assert (seen(board).settled_per_s, seen(board).error_ratio) == (0, 0)


def test_a_rate_is_told_from_the_first_second_on(board: StatusBoard, clock: ManualClock) -> None:
    board.delivered()
    assert seen(board).settled_per_s == pytest.approx(1)
    clock.advance(2)
    assert seen(board).settled_per_s == pytest.approx(0.5)


def test_nobody_looked_for_an_hour_and_the_rate_is_the_mean(
    board: StatusBoard, clock: ManualClock
) -> None:
    clock.advance(60 * WINDOW_S)
    for _ in range(3600):
        board.delivered()
    assert seen(board).settled_per_s == pytest.approx(1)


def test_attempts_are_counted_by_what_they_came_to(board: StatusBoard) -> None:
    board.delivered()
    board.retrying(AWAY)
    board.failed(failed(OutcomeKind.REFUSED, "too large"))
    board.dead_lettered()
    status = seen(board)
    assert status.attempts == {
        OutcomeKind.SUCCEEDED: 1,
        OutcomeKind.UNREACHABLE: 1,
        OutcomeKind.REFUSED: 1,
    }
    assert (status.settled_total, status.dead_lettered_total, status.retries_total) == (2, 1, 1)


@pytest.mark.parametrize(
    "did",
    [
        lambda board: board.delivered(),
        lambda board: board.retrying(AWAY),
        lambda board: board.failed(AWAY),
        lambda board: board.dead_lettered(),
        lambda board: board.not_dead_lettered("away"),
        lambda board: board.source_failed("away"),
        lambda board: board.committed(),
    ],
)
def test_whatever_ended_is_progress(board: StatusBoard, clock: ManualClock, did: object) -> None:
    before = seen(board)
    clock.advance(1)
    did(board)  # type: ignore[operator]
    after = seen(board)
    assert after.progress_total == before.progress_total + 1
    assert after.last_progress == clock.now()


def test_an_empty_source_is_progress_of_its_own_kind(board: StatusBoard) -> None:
    board.found_empty()
    assert (seen(board).progress_total, seen(board).polls_empty_total) == (0, 1)
    assert seen(board).last_progress is not None


def test_durations_are_counted_up_to_the_upper_end_of_their_bucket() -> None:
    durations = RunDurations()
    for duration_s in (0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, 10_000.0):
        durations.add(duration_s)
    counts, sum_s = durations.snapshot()
    assert (counts[0], counts[1], counts[-1], sum(counts)) == (2, 1, 1, 4)
    assert sum_s == pytest.approx(10_000, rel=1e-3)
