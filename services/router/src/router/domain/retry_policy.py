"""What happens after a failed attempt: a pure table of rules, first match counts (promise 6).

The defaults, each to be overruled by a flow's own rules:

| Class | Attempts | First delay | Why |
| --- | --- | --- | --- |
| algorithm error, refused | 1 | | repeating cannot help |
| timed out | 5 | 0.2 s | a run that used up its time will often do so again |
| crashed | 3 | 0.2 s | memory that ran out passes, a record that kills does not |
| overloaded, unreachable | until 6 h old | 0.2 s | the platform's trouble, which passes |
| no answer | until 6 h old | 1 s | the same, but the run may still go on |

A delay is doubled from attempt to attempt of its class up to 60 s, or up to 15 s where their number
ends nothing, random from 0 to that, and comes on top of what `Retry-After` asked for; without an
answer on top of 1 s, so that the repeat finds the run in progress and joins it. What is given up
becomes a dead letter, or *halts* its key or its flow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from catalog.events import GiveUp
from kernel.backoff import ceiling_s

from router.domain.outcome import Outcome, OutcomeKind

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_LONGEST_S: Final = 60.0
AWAY_LONGEST_S: Final = 15.0
"""Where no number of attempts ends the waiting for somebody who is away: what is alone in its flow
goes on so soon after an outage."""
BACKOFF_FACTOR: Final = 2.0
NO_ANSWER_FIRST_S: Final = 1.0
RETRY_AFTER_MAX_S: Final = 300.0
AGE_MAX_S: Final = 6 * 3600.0
TIMED_OUT_ATTEMPTS_MAX: Final = 5
CRASHED_ATTEMPTS_MAX: Final = 3
ATTEMPTS_UNBOUNDED: Final = 1_000_000_000
"""In a rule: only the age ends the attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """Retries of the failures that it fits; 0 in a number: the default of the failure's class, but
    for the longest delay of a rule that counts attempts: then 60 s, so that they last.

    `failure` None fits every class, an empty `error_type` every type. `attempts_max` counts the
    attempts that this rule fitted, the first one included. `age_max_s` begins with the delivery's
    first attempt. Raises ValueError for numbers that make no sense.
    """

    failure: OutcomeKind | None = None
    error_type: str = ""
    attempts_max: int = 0
    age_max_s: float = 0.0
    delay_first_s: float = 0.0
    delay_longest_s: float = 0.0
    factor: float = 0.0
    give_up: GiveUp = GiveUp.UNSPECIFIED

    def __post_init__(self) -> None:
        numbers = (self.attempts_max, self.age_max_s, self.delay_first_s, self.delay_longest_s)
        if min(numbers) < 0:
            raise ValueError("the numbers of a retry rule must not be negative")
        if self.factor != 0 and self.factor < 1:
            raise ValueError("the factor of a retry rule must be at least 1")
        if self.failure is OutcomeKind.SUCCEEDED:
            raise ValueError("a retry rule cannot be about successes")

    def fits(self, outcome: Outcome) -> bool:
        """Is this rule about such a failure?"""
        return self.failure in (None, outcome.kind) and self.error_type in ("", outcome.error_type)

    def completed(self, default: RetryRule) -> RetryRule:
        """This rule with the numbers of `default` where it has none."""
        first_s = self.delay_first_s or default.delay_first_s
        longest_s = BACKOFF_LONGEST_S if self.attempts_max else default.delay_longest_s
        return RetryRule(
            failure=self.failure,
            error_type=self.error_type,
            attempts_max=self.attempts_max or default.attempts_max,
            age_max_s=self.age_max_s or default.age_max_s,
            delay_first_s=first_s,
            delay_longest_s=max(self.delay_longest_s or longest_s, first_s),
            factor=self.factor or default.factor,
            give_up=self.give_up or default.give_up,
        )


def _default(
    failure: OutcomeKind, *, attempts_max: int, first_s: float = BACKOFF_FIRST_S
) -> RetryRule:
    is_counted = attempts_max != ATTEMPTS_UNBOUNDED
    return RetryRule(
        failure=failure,
        attempts_max=attempts_max,
        age_max_s=AGE_MAX_S,
        delay_first_s=first_s,
        delay_longest_s=BACKOFF_LONGEST_S if is_counted else AWAY_LONGEST_S,
        factor=BACKOFF_FACTOR,
        give_up=GiveUp.DEAD_LETTER,
    )


DEFAULT_RULES: Final = (
    _default(OutcomeKind.ALGORITHM_ERROR, attempts_max=1),
    _default(OutcomeKind.REFUSED, attempts_max=1),
    _default(OutcomeKind.TIMED_OUT, attempts_max=TIMED_OUT_ATTEMPTS_MAX),
    _default(OutcomeKind.CRASHED, attempts_max=CRASHED_ATTEMPTS_MAX),
    _default(OutcomeKind.OVERLOADED, attempts_max=ATTEMPTS_UNBOUNDED),
    _default(OutcomeKind.UNREACHABLE, attempts_max=ATTEMPTS_UNBOUNDED),
    _default(OutcomeKind.NO_ANSWER, attempts_max=ATTEMPTS_UNBOUNDED, first_s=NO_ANSWER_FIRST_S),
)
"""One complete rule for each class of failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """A flow's own rules, and the defaults behind them (one for each class, complete)."""

    rules: tuple[RetryRule, ...] = ()
    defaults: tuple[RetryRule, ...] = field(default=DEFAULT_RULES, repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError unless every class of failure has exactly one default."""
        named = sorted(rule.failure.value for rule in self.defaults if rule.failure is not None)
        if named != sorted(kind.value for kind in OutcomeKind if kind is not OutcomeKind.SUCCEEDED):
            raise ValueError("every class of failure needs exactly one default rule")

    @property
    def rest_max_s(self) -> float:
        """The longest that a delivery may have to wait for its next attempt."""
        waits_s = [rule.delay_longest_s for rule in (*self.defaults, *self.rules)]
        firsts_s = [rule.delay_first_s for rule in self.rules]
        return max(*waits_s, *firsts_s) + RETRY_AFTER_MAX_S

    def fitting(self, outcome: Outcome) -> tuple[int, RetryRule]:
        """The number and the completed form of the first rule that fits a failure.

        The number tells rules apart, for counting the attempts of each.
        """
        default_number, default = next(
            (number, rule)
            for number, rule in enumerate(self.defaults, len(self.rules))
            if rule.failure is outcome.kind
        )
        for number, rule in enumerate(self.rules):
            if rule.fits(outcome):
                return number, rule.completed(default)
        return default_number, default


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Try again after a random part of `jitter_s`, and never before `at_least_s`."""

    at_least_s: float
    jitter_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """No attempt more; `how` says what becomes of the delivery."""

    how: GiveUp


Decision: TypeAlias = Again | GivenUp


def decide(outcome: Outcome, rule: RetryRule, *, fitted_count: int, age_s: float) -> Decision:
    """What to do after a failed attempt, `age_s` after the first one of its delivery began.

    `rule` is the one that `RetryPolicy.fitting` found; `fitted_count` counts the attempts that it
    fitted, this one included. Other failures make its waits no longer: after an outage a run that
    times out is not tried again a minute later each time.
    """
    if fitted_count >= rule.attempts_max or age_s >= rule.age_max_s:
        return GivenUp(how=rule.give_up)
    asked_s = min(outcome.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
    if outcome.kind is OutcomeKind.NO_ANSWER:
        asked_s = max(asked_s, NO_ANSWER_FIRST_S)
    longest_s = rule.delay_longest_s
    ceiling = ceiling_s(
        fitted_count, first_s=rule.delay_first_s, longest_s=longest_s, factor=rule.factor
    )
    return Again(at_least_s=asked_s, jitter_s=ceiling)


def backoff_s(failures: int, *, longest_s: float = BACKOFF_LONGEST_S) -> float:
    """Upper end of the wait after that many failures in a row of what is not a delivery."""
    return ceiling_s(
        failures,
        first_s=BACKOFF_FIRST_S,
        longest_s=longest_s,
        factor=BACKOFF_FACTOR,
    )
