"""How a redrive differs from live delivery: another generation, perhaps another version, and an end
to its attempts. Pure.

Failures that are the letter's end its attempts soon; those of the target alone do not, or an outage
would turn every letter of a task into one that died again. Which of both a failure is, is sometimes
seen only by how other letters fare meanwhile (`Suspicion`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from catalog.events import DeliveryOrder, FlowKind, GiveUp

from router.domain.dead_letter_record import Letter
from router.domain.flow_spec import AlgorithmTargetSpec, FlowSpec
from router.domain.outcome import ENDPOINT_ERROR, Outcome, OutcomeKind
from router.domain.pace import OF_THE_TARGET, is_targets
from router.domain.retry_policy import RetryPolicy, RetryRule

ATTEMPTS_MAX: Final = 5
"""Of a letter that fails by itself."""
AGE_MAX_S: Final = 60.0
DELAY_LONGEST_S: Final = 10.0
SUSPECT_AFTER_S: Final = 30.0
"""A target that starts anew may serve one call, and then none for so long."""
RATE_DEFAULT_PER_S: Final = 10.0


class TokenBucket:
    """Lets through `rate_per_s` on average and no two at once; times are those of one clock."""

    def __init__(self, rate_per_s: float, *, now_s: float) -> None:
        self._interval_s = 1.0 / (rate_per_s or RATE_DEFAULT_PER_S)
        self._next_s = now_s

    def take(self, now_s: float) -> float:
        """Take a token; how long to wait before it may be used."""
        at_s = max(self._next_s, now_s)
        self._next_s = at_s + self._interval_s
        return at_s - now_s


def is_letters(outcome: Outcome) -> bool:
    """May the failure be about the letter? An endpoint that answers and says that it failed may say
    so of this input for ever."""
    return not is_targets(outcome) or outcome.error_type == ENDPOINT_ERROR


def is_answer(outcome: Outcome) -> bool:
    """Does it show that the target serves? A refusal may come from before it."""
    return is_letters(outcome) and outcome.kind is not OutcomeKind.REFUSED


class Suspicion:
    """Whether a letter that fails in the target's ways is itself to blame: it is if it still fails
    after `SUSPECT_AFTER_S`, and a call that began after its first failure had an answer. One that
    began before tells nothing: a target that goes away may still end what it had begun.

    The price: of a target that serves a call and then stays away for longer, the letters that had
    failed before that call are taken to be the cause.
    """

    __slots__ = ("_failed_s", "_failures")

    def __init__(self) -> None:
        self._failed_s = math.inf
        """When it failed first."""
        self._failures = 0

    def failed(self, outcome: Outcome, *, now_s: float, served_s: float) -> None:
        """An attempt failed. `served_s`: when the newest call began that had an answer, of a letter
        or of a live record."""
        others_had_one = served_s > self._failed_s
        self._failed_s = min(self._failed_s, now_s)
        fails_on = now_s - self._failed_s >= SUSPECT_AFTER_S
        is_suspect = others_had_one and fails_on and outcome.kind is not OutcomeKind.OVERLOADED
        if is_targets(outcome) and (is_letters(outcome) or is_suspect):
            self._failures += 1

    @property
    def is_grave(self) -> bool:
        """Does one failure more end the letter's attempts, whatever kind it is of?"""
        return self._failures >= ATTEMPTS_MAX - 1


def spec_of_redrive(spec: FlowSpec, *, version: str) -> FlowSpec:
    """The flow's spec with bounded attempts where the failure is the letter's, and with the version
    that was asked for (empty: its own). Of a publisher flow the version means nothing."""
    rules = tuple(one for rule in spec.retries.rules for one in _rules_of_redrive(rule))
    defaults = tuple(one for rule in spec.retries.defaults for one in _rules_of_redrive(rule))
    bounded = replace(spec, retries=RetryPolicy(rules=rules, defaults=defaults))
    if not version or not isinstance(spec.target, AlgorithmTargetSpec):
        return bounded
    target = AlgorithmTargetSpec(algorithm=spec.target.algorithm, version=version)
    runs = version if spec.kind is FlowKind.SUBSCRIBER else spec.version
    return replace(bounded, target=target, version=runs)


def lane_of(letter: Letter, order: DeliveryOrder) -> object:
    """Letters with the same lane must not run at the same time; one without an order has its
    own."""
    if order is DeliveryOrder.PARTITION:
        return (letter.topic, letter.source_partition)
    if order is DeliveryOrder.NONE or letter.key is None:
        return letter.letter_id
    return letter.key_hash


def with_an_end(spec: FlowSpec) -> FlowSpec:
    """That of a redrive with bounded attempts for every failure; its rules keep their numbers."""
    policy = RetryPolicy(
        rules=tuple(_bounded_rule(rule) for rule in spec.retries.rules),
        defaults=tuple(_bounded_rule(rule) for rule in spec.retries.defaults),
    )
    return replace(spec, retries=policy)


def _rules_of_redrive(rule: RetryRule) -> tuple[RetryRule, ...]:
    """One that is about every class becomes one for each of the target's, and the rest."""
    if rule.error_type == ENDPOINT_ERROR:
        return (_bounded_rule(rule),)
    if rule.failure is None:
        of_target = (replace(rule, failure=kind) for kind in OF_THE_TARGET)
        return (*(_patient_rule(one) for one in of_target), _bounded_rule(rule))
    return (_patient_rule(rule) if rule.failure in OF_THE_TARGET else _bounded_rule(rule),)


def _patient_rule(rule: RetryRule) -> RetryRule:
    """As often and as long as the flow says: by default until the letter is 6 h in work."""
    return replace(
        rule,
        delay_first_s=min(rule.delay_first_s, DELAY_LONGEST_S),
        delay_longest_s=min(rule.delay_longest_s, DELAY_LONGEST_S),
        give_up=GiveUp.DEAD_LETTER,
    )


def _bounded_rule(rule: RetryRule) -> RetryRule:
    """0 stays 0: the default stands behind it, and is bounded too."""
    return replace(
        _patient_rule(rule),
        attempts_max=min(rule.attempts_max, ATTEMPTS_MAX),
        age_max_s=min(rule.age_max_s, AGE_MAX_S),
    )
