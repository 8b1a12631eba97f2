"""What happens after an attempt, by class of outcome (promise 6). A pure table.

| Outcome | Next |
| --- | --- |
| succeeded | settle |
| algorithm error, refused | dead letter at once: repeating cannot help |
| overloaded, unreachable | again, until the delivery is too old |
| timed out | again, 5 attempts: a run that used up its time will often do so again |
| crashed | again, 3 attempts: memory that ran out passes, a record that kills does not |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from kernel.backoff import ceiling_s

from router.domain.outcome import Outcome, OutcomeKind

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_LONGEST_S: Final = 60.0
RETRY_AFTER_MAX_S: Final = 300.0
TIMED_OUT_ATTEMPTS_MAX: Final = 5
CRASHED_ATTEMPTS_MAX: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """The outcome is durable; the delivery is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Try again after a random part of `jitter_s`, and never before `at_least_s`."""

    at_least_s: float
    jitter_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Write a dead letter."""


Decision: TypeAlias = Settle | Again | GiveUp


def backoff_s(failures: int) -> float:
    """Upper end of the wait after that many failures in a row: doubled each time, with a limit."""
    return ceiling_s(failures, first_s=BACKOFF_FIRST_S, longest_s=BACKOFF_LONGEST_S)


def decide(
    outcome: Outcome, *, attempt: int, alike_count: int, age_s: float, age_max_s: float
) -> Decision:
    """What to do after attempt number `attempt` (from 1), `age_s` after the first one began.

    `alike_count` counts the attempts of this delivery that ended in the same class, this one
    included.
    """
    match outcome.kind:
        case OutcomeKind.SUCCEEDED:
            return Settle()
        case OutcomeKind.ALGORITHM_ERROR | OutcomeKind.REFUSED:
            return GiveUp()
        case OutcomeKind.TIMED_OUT:
            exhausted = alike_count >= TIMED_OUT_ATTEMPTS_MAX
        case OutcomeKind.CRASHED:
            exhausted = alike_count >= CRASHED_ATTEMPTS_MAX
        case OutcomeKind.OVERLOADED | OutcomeKind.UNREACHABLE:
            exhausted = False
        case _:
            assert_never(outcome.kind)
    if exhausted or age_s >= age_max_s:
        return GiveUp()
    asked_s = min(outcome.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
    return Again(at_least_s=asked_s, jitter_s=backoff_s(attempt))
