"""What follows an attempt is a table, and a flow's own rules come before the defaults."""

import pytest
from catalog.events import GiveUp
from hypothesis import given
from hypothesis import strategies as st
from router.domain.outcome import Outcome, OutcomeKind, failed
from router.domain.pace import is_targets
from router.domain.retry_policy import (
    AGE_MAX_S,
    AWAY_LONGEST_S,
    BACKOFF_LONGEST_S,
    CRASHED_ATTEMPTS_MAX,
    RETRY_AFTER_MAX_S,
    TIMED_OUT_ATTEMPTS_MAX,
    Again,
    Decision,
    GivenUp,
    RetryPolicy,
    RetryRule,
    backoff_s,
    decide,
)

FAILURES = [kind for kind in OutcomeKind if kind is not OutcomeKind.SUCCEEDED]
LETTER = GivenUp(how=GiveUp.DEAD_LETTER)


def after(outcome: Outcome, *rules: RetryRule, fitted: int = 1, age_s: float = 0) -> Decision:
    _, rule = RetryPolicy(rules=rules).fitting(outcome)
    return decide(outcome, rule, fitted_count=fitted, age_s=age_s)


@pytest.mark.parametrize("kind", [OutcomeKind.ALGORITHM_ERROR, OutcomeKind.REFUSED])
def test_what_repeating_cannot_help_is_given_up_at_once(kind: OutcomeKind) -> None:
    assert after(failed(kind, "no")) == LETTER


@pytest.mark.parametrize(
    "kind", [OutcomeKind.OVERLOADED, OutcomeKind.UNREACHABLE, OutcomeKind.NO_ANSWER]
)
def test_the_platforms_errors_are_tried_again_until_the_delivery_is_too_old(
    kind: OutcomeKind,
) -> None:
    again = after(failed(kind, "no"), fitted=500, age_s=AGE_MAX_S - 1)
    assert isinstance(again, Again)
    assert after(failed(kind, "no"), fitted=2, age_s=AGE_MAX_S) == LETTER


def test_a_run_that_times_out_is_tried_again_a_few_times() -> None:
    outcome = failed(OutcomeKind.TIMED_OUT, "slow")
    assert isinstance(after(outcome, fitted=TIMED_OUT_ATTEMPTS_MAX - 1), Again)
    assert after(outcome, fitted=TIMED_OUT_ATTEMPTS_MAX) == LETTER


def test_a_run_whose_process_crashed_is_tried_again_a_few_times() -> None:
    outcome = failed(OutcomeKind.CRASHED, "killed")
    assert after(outcome, fitted=CRASHED_ATTEMPTS_MAX - 1) == Again(at_least_s=0.0, jitter_s=0.4)
    assert after(outcome, fitted=CRASHED_ATTEMPTS_MAX) == LETTER


def test_retry_after_is_honoured_up_to_a_limit() -> None:
    asked = failed(OutcomeKind.OVERLOADED, "later", retry_after_s=7.0)
    assert after(asked) == Again(at_least_s=7.0, jitter_s=0.2)
    absurd = after(failed(OutcomeKind.OVERLOADED, "later", retry_after_s=1e9))
    assert isinstance(absurd, Again)
    assert absurd.at_least_s == RETRY_AFTER_MAX_S


def test_without_an_answer_the_repeat_waits_until_it_finds_the_run_in_progress() -> None:
    silent = failed(OutcomeKind.NO_ANSWER, "no answer")
    assert after(silent) == Again(at_least_s=1.0, jitter_s=1.0)
    hasty = RetryRule(delay_first_s=0.01, delay_longest_s=0.02)
    assert after(silent, hasty) == Again(at_least_s=1.0, jitter_s=0.01)


@given(st.integers(1, 10_000))
def test_the_backoff_doubles_up_to_a_limit(failures: int) -> None:
    assert backoff_s(failures) == min(BACKOFF_LONGEST_S, 0.2 * 2.0 ** min(failures - 1, 60))


def test_the_first_rule_that_fits_counts() -> None:
    mine = RetryRule(failure=OutcomeKind.ALGORITHM_ERROR, error_type="Busy", attempts_max=3)
    rest = RetryRule(attempts_max=2, give_up=GiveUp.HALT_FLOW)
    busy = failed(OutcomeKind.ALGORITHM_ERROR, "no", error_type="Busy")
    other = failed(OutcomeKind.ALGORITHM_ERROR, "no", error_type="Bad")
    assert isinstance(after(busy, mine, rest, fitted=2), Again)
    assert after(busy, mine, rest, fitted=3) == LETTER
    assert after(other, mine, rest, fitted=2) == GivenUp(how=GiveUp.HALT_FLOW)
    policy = RetryPolicy(rules=(mine, rest))
    assert [policy.fitting(each)[0] for each in (busy, other)] == [0, 1]
    assert RetryPolicy().fitting(busy)[0] != RetryPolicy().fitting(failed(FAILURES[-1], ""))[0]


@pytest.mark.parametrize("kind", FAILURES)
def test_a_rule_takes_the_default_of_the_class_for_what_it_does_not_say(kind: OutcomeKind) -> None:
    (default,) = [rule for rule in RetryPolicy().defaults if rule.failure is kind]
    _, rule = RetryPolicy(rules=(RetryRule(),)).fitting(failed(kind, "no"))
    assert rule.completed(default) == rule
    assert (rule.attempts_max, rule.age_max_s, rule.give_up) == (
        default.attempts_max,
        default.age_max_s,
        GiveUp.DEAD_LETTER,
    )


@pytest.mark.parametrize("kind", FAILURES)
def test_waits_for_who_is_away_are_short_unless_attempts_are_counted(kind: OutcomeKind) -> None:
    no = failed(kind, "no")
    counted = after(no, RetryRule(attempts_max=99), fitted=20)
    assert isinstance(counted, Again)
    assert counted.jitter_s == BACKOFF_LONGEST_S
    if is_targets(no):
        uncounted = after(no, fitted=20)
        assert isinstance(uncounted, Again)
        assert uncounted.jitter_s == AWAY_LONGEST_S


def test_a_rule_sets_attempts_age_delays_and_factor() -> None:
    rule = RetryRule(
        attempts_max=4, age_max_s=9.0, delay_first_s=1.0, delay_longest_s=50.0, factor=10.0
    )
    broken = failed(OutcomeKind.ALGORITHM_ERROR, "no")
    waits = [after(broken, rule, fitted=number) for number in (1, 2, 3)]
    assert waits == [Again(at_least_s=0.0, jitter_s=ceiling) for ceiling in (1.0, 10.0, 50.0)]
    assert after(broken, rule, fitted=4) == LETTER
    assert after(broken, rule, age_s=9.0) == LETTER


@given(
    first_s=st.just(0.0) | st.floats(0.01, 3_600),
    longest_s=st.just(0.0) | st.floats(0.01, 3_600),
    fitted=st.integers(1, 1_000),
    kind=st.sampled_from(FAILURES),
    retry_after_s=st.none() | st.floats(0, 1e6),
)
def test_no_wait_is_longer_than_the_policy_says(
    first_s: float, longest_s: float, fitted: int, kind: OutcomeKind, retry_after_s: float | None
) -> None:
    rule = RetryRule(attempts_max=1_001, delay_first_s=first_s, delay_longest_s=longest_s)
    outcome = failed(kind, "no", retry_after_s=retry_after_s)
    again = after(outcome, rule, fitted=fitted)
    assert isinstance(again, Again)
    assert again.at_least_s + again.jitter_s <= RetryPolicy(rules=(rule,)).rest_max_s


def test_a_first_delay_above_the_longest_of_the_class_is_kept() -> None:
    slow = RetryRule(delay_first_s=100.0)
    assert after(failed(OutcomeKind.OVERLOADED, "no"), slow) == Again(at_least_s=0, jitter_s=100)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryRule(attempts_max=-1),
        lambda: RetryRule(age_max_s=-1),
        lambda: RetryRule(factor=0.5),
        lambda: RetryRule(failure=OutcomeKind.SUCCEEDED),
        lambda: RetryPolicy(defaults=()),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=r"must|cannot|needs"):
        make()
