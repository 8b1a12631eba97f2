"""What settings of delivery must look like, for the kind of flow that they are for."""

from __future__ import annotations

from catalog.events import (
    BrokerKind,
    DeliveryOrder,
    DeliverySettings,
    FailureClass,
    FlowCreated,
    FlowKind,
    GiveUp,
    RetryRule,
)
from kernel.errors import InvalidInput, TooLarge

from registry.domain import values

PARALLELISM_MAX = 64
"""Instances of one flow: one for each shard of the router at most."""
RETRY_RULES_MAX = 16
ATTEMPTS_MAX = 1_000
AGE_MAX_S = 7 * 24 * 3600
DELAY_MIN_MS = 10
DELAY_MAX_MS = 3600 * 1000
FACTOR_MIN = 1.0
FACTOR_MAX = 10.0

_OF_ALGORITHMS = (FailureClass.ALGORITHM_ERROR, FailureClass.CRASHED)


def check(settings: DeliverySettings, wire: FlowCreated) -> None:
    """Raises InvalidInput, TooLarge."""
    values.between("delivery.parallelism", settings.parallelism, low=0, high=PARALLELISM_MAX)
    if (settings.start or settings.read_committed) and not _reads_a_topic(wire):
        raise InvalidInput(
            "delivery.start and delivery.read_committed are for flows that read a Kafka topic: "
            "leave them out"
        )
    if len(settings.retries) > RETRY_RULES_MAX:
        raise TooLarge(f"delivery.retries must have at most {RETRY_RULES_MAX} rules")
    for rule in settings.retries:
        _check_rule(rule)
        if rule.failure in _OF_ALGORITHMS and wire.kind is FlowKind.PUBLISHER:
            raise InvalidInput(
                "a publisher flow writes to a topic and runs no algorithm: leave out retry rules "
                "about algorithm errors and crashes"
            )
        if rule.give_up is GiveUp.HALT_KEY and settings.order is DeliveryOrder.NONE:
            raise InvalidInput(
                "without an order no record waits for its key: choose an order, or halt the flow "
                "in place of the key"
            )


def _reads_a_topic(wire: FlowCreated) -> bool:
    """Publisher and chain flows read our completions, from the moment at which they were enabled,
    and what they read has no transactions."""
    return (
        wire.kind is FlowKind.SUBSCRIBER
        and wire.channel is not None
        and wire.channel.broker is BrokerKind.KAFKA
    )


def _check_rule(rule: RetryRule) -> None:
    where = "delivery.retries"
    values.line(f"{where}.error_type", rule.error_type, length_max=values.ERROR_TYPE_LENGTH_MAX)
    values.between(f"{where}.attempts_max", rule.attempts_max, low=0, high=ATTEMPTS_MAX)
    values.between(f"{where}.age_max_s", rule.age_max_s, low=0, high=AGE_MAX_S)
    for name in ("delay_first_ms", "delay_longest_ms"):
        delay_ms = getattr(rule, name)
        if delay_ms:
            values.between(f"{where}.{name}", delay_ms, low=DELAY_MIN_MS, high=DELAY_MAX_MS)
    if rule.delay_longest_ms and rule.delay_first_ms > rule.delay_longest_ms:
        raise InvalidInput(f"{where}.delay_first_ms must not be above delay_longest_ms")
    if rule.factor and not FACTOR_MIN <= rule.factor <= FACTOR_MAX:  # also refuses NaN
        raise InvalidInput(f"{where}.factor must be 0 or {FACTOR_MIN:g} to {FACTOR_MAX:g}")
