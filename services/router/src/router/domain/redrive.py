"""How a redrive differs from live delivery: another generation, perhaps another version, and an end
to its attempts. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from catalog.events import DeliveryOrder, FlowKind, GiveUp

from router.domain.dead_letter_record import Letter
from router.domain.flow_spec import AlgorithmTargetSpec, FlowSpec
from router.domain.retry_policy import RetryPolicy, RetryRule

ATTEMPTS_MAX: Final = 5
AGE_MAX_S: Final = 60.0
DELAY_LONGEST_S: Final = 10.0
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


def spec_of_redrive(spec: FlowSpec, *, version: str) -> FlowSpec:
    """The flow's spec with bounded attempts, and with the version that was asked for (empty: its
    own). Of a publisher flow the version means nothing."""
    bounded = replace(spec, retries=_bounded(spec.retries))
    if not version or not isinstance(spec.target, AlgorithmTargetSpec):
        return bounded
    target = AlgorithmTargetSpec(algorithm=spec.target.algorithm, version=version)
    runs = version if spec.kind is FlowKind.SUBSCRIBER else spec.version
    return replace(bounded, target=target, version=runs)


def lane_of(letter: Letter, order: DeliveryOrder) -> object | None:
    """Letters with the same lane must not run at the same time; None: with any other."""
    if order is DeliveryOrder.NONE:
        return None
    if order is DeliveryOrder.PARTITION:
        return (letter.topic, letter.source_partition)
    return None if letter.key is None else letter.key_hash


def _bounded(policy: RetryPolicy) -> RetryPolicy:
    return RetryPolicy(
        rules=tuple(_bounded_rule(rule) for rule in policy.rules),
        defaults=tuple(_bounded_rule(rule) for rule in policy.defaults),
    )


def _bounded_rule(rule: RetryRule) -> RetryRule:
    """0 stays 0: the default stands behind it, and is bounded too."""
    return replace(
        rule,
        attempts_max=min(rule.attempts_max, ATTEMPTS_MAX),
        age_max_s=min(rule.age_max_s, AGE_MAX_S),
        delay_first_s=min(rule.delay_first_s, DELAY_LONGEST_S),
        delay_longest_s=min(rule.delay_longest_s, DELAY_LONGEST_S),
        give_up=GiveUp.DEAD_LETTER,
    )
