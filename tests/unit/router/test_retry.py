"""What follows an attempt is a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router.domain.outcome import SUCCEEDED, Outcome, OutcomeKind, failed
from router.domain.retry import (
    BACKOFF_LONGEST_S,
    CRASHED_ATTEMPTS_MAX,
    RETRY_AFTER_MAX_S,
    TIMED_OUT_ATTEMPTS_MAX,
    Again,
    Decision,
    GiveUp,
    Settle,
    backoff_s,
    decide,
)

DAY_S = 86_400.0


def after(outcome: Outcome, *, attempt: int = 1, alike: int = 1, age_s: float = 0) -> Decision:
    return decide(outcome, attempt=attempt, alike_count=alike, age_s=age_s, age_max_s=DAY_S)


def test_a_success_is_settled() -> None:
    assert after(SUCCEEDED) == Settle()


@pytest.mark.parametrize("kind", [OutcomeKind.ALGORITHM_ERROR, OutcomeKind.REFUSED])
def test_what_repeating_cannot_help_is_given_up_at_once(kind: OutcomeKind) -> None:
    assert after(failed(kind, "no")) == GiveUp()


@pytest.mark.parametrize("kind", [OutcomeKind.OVERLOADED, OutcomeKind.UNREACHABLE])
def test_the_platforms_errors_are_tried_again_until_the_delivery_is_too_old(
    kind: OutcomeKind,
) -> None:
    assert isinstance(after(failed(kind, "no"), attempt=500, age_s=DAY_S - 1), Again)
    assert after(failed(kind, "no"), attempt=2, age_s=DAY_S) == GiveUp()


def test_a_run_that_times_out_is_tried_again_a_few_times() -> None:
    outcome = failed(OutcomeKind.TIMED_OUT, "slow")
    assert isinstance(after(outcome, alike=TIMED_OUT_ATTEMPTS_MAX - 1), Again)
    assert after(outcome, alike=TIMED_OUT_ATTEMPTS_MAX) == GiveUp()


def test_a_run_whose_process_crashed_is_tried_again_a_few_times() -> None:
    outcome = failed(OutcomeKind.CRASHED, "killed")
    assert after(outcome, attempt=2, alike=CRASHED_ATTEMPTS_MAX - 1) == Again(
        at_least_s=0.0, jitter_s=backoff_s(2)
    )
    assert after(outcome, alike=CRASHED_ATTEMPTS_MAX) == GiveUp()
    assert isinstance(after(outcome, attempt=500, alike=1), Again), "other trouble does not count"


def test_retry_after_is_honoured_up_to_a_limit() -> None:
    asked = failed(OutcomeKind.OVERLOADED, "later", retry_after_s=7.0)
    assert after(asked) == Again(at_least_s=7.0, jitter_s=backoff_s(1))
    absurd = after(failed(OutcomeKind.OVERLOADED, "later", retry_after_s=1e9))
    assert isinstance(absurd, Again)
    assert absurd.at_least_s == RETRY_AFTER_MAX_S


@given(st.integers(1, 10_000))
def test_the_backoff_doubles_up_to_a_limit(failures: int) -> None:
    assert backoff_s(failures) == min(BACKOFF_LONGEST_S, 0.2 * 2.0 ** min(failures - 1, 60))
