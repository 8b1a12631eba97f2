"""Which settings of delivery are refused, and with which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from catalog.events import (
    BrokerKind,
    Channel,
    DeliveryOrder,
    DeliverySettings,
    FailureClass,
    FlowCreated,
    FlowKind,
    GiveUp,
    RetryRule,
    StartAt,
)
from kernel.errors import InvalidInput, TooLarge
from registry.domain.delivery_rules import (
    AGE_MAX_S,
    ATTEMPTS_MAX,
    DELAY_MAX_MS,
    DELAY_MIN_MS,
    FACTOR_MAX,
    PARALLELISM_MAX,
    RETRY_RULES_MAX,
    check,
)

from tests.support.event_log import id_of

SUBSCRIBER = FlowCreated(
    flow_id=id_of("flow"),
    kind=FlowKind.SUBSCRIBER,
    owner_id=id_of("acme"),
    algorithm_id=id_of("echo"),
    channel=Channel(broker=BrokerKind.KAFKA, connection_id=id_of("plant"), name="orders"),
)
PUBLISHER = replace(SUBSCRIBER, kind=FlowKind.PUBLISHER)
CHAIN = replace(SUBSCRIBER, kind=FlowKind.CHAIN, channel=None, target_algorithm_id=id_of("labels"))
LISTENER = replace(SUBSCRIBER, channel=Channel(broker=BrokerKind.SQS, name="https://queue.test/1"))


def rule(**fields: Any) -> DeliverySettings:
    return DeliverySettings(retries=(RetryRule(**fields),))


@pytest.mark.parametrize("wire", [SUBSCRIBER, PUBLISHER, CHAIN, LISTENER])
def test_what_makes_sense_for_every_flow_passes(wire: FlowCreated) -> None:
    check(DeliverySettings(), wire)
    check(DeliverySettings(order=DeliveryOrder.NONE, parallelism=PARALLELISM_MAX), wire)
    check(
        rule(
            failure=FailureClass.UNREACHABLE,
            error_type="x" * 200,
            attempts_max=ATTEMPTS_MAX,
            age_max_s=AGE_MAX_S,
            delay_first_ms=DELAY_MIN_MS,
            delay_longest_ms=DELAY_MAX_MS,
            factor=FACTOR_MAX,
            give_up=GiveUp.HALT_FLOW,
        ),
        wire,
    )
    check(DeliverySettings(retries=(RetryRule(),) * RETRY_RULES_MAX), wire)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (DeliverySettings(parallelism=-1), "delivery.parallelism must be between 0 and 64"),
        (DeliverySettings(parallelism=65), "delivery.parallelism must be between 0 and 64"),
        (rule(attempts_max=1001), "attempts_max must be between 0 and 1000"),
        (rule(age_max_s=AGE_MAX_S + 1), "age_max_s must be between 0 and 604800"),
        (rule(age_max_s=-1), "age_max_s must be between"),
        (rule(delay_first_ms=9), "delay_first_ms must be between 10 and 3600000"),
        (rule(delay_longest_ms=DELAY_MAX_MS + 1), "delay_longest_ms must be between"),
        (rule(delay_first_ms=200, delay_longest_ms=100), "must not be above delay_longest_ms"),
        (rule(factor=0.5), "factor must be 0 or 1 to 10"),
        (rule(factor=10.1), "factor must be 0 or 1 to 10"),
        (rule(factor=float("nan")), "factor must be 0 or 1 to 10"),
        (rule(error_type="a\nb"), "error_type must be a single line"),
    ],
)
def test_numbers_beyond_their_limits_are_refused(settings: DeliverySettings, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        check(settings, SUBSCRIBER)


def test_too_many_rules_and_too_long_types_are_refused() -> None:
    with pytest.raises(TooLarge, match="at most 16 rules"):
        check(DeliverySettings(retries=(RetryRule(),) * (RETRY_RULES_MAX + 1)), SUBSCRIBER)
    with pytest.raises(TooLarge, match="error_type must have at most 200"):
        check(rule(error_type="x" * 201), SUBSCRIBER)


@pytest.mark.parametrize("wire", [PUBLISHER, CHAIN, LISTENER])
@pytest.mark.parametrize(
    "settings", [DeliverySettings(start=StartAt.LATEST), DeliverySettings(read_committed=True)]
)
def test_start_and_transactions_are_for_flows_that_read_a_topic(
    settings: DeliverySettings, wire: FlowCreated
) -> None:
    check(settings, SUBSCRIBER)
    with pytest.raises(InvalidInput, match="for flows that read a Kafka topic: leave them out"):
        check(settings, wire)


@pytest.mark.parametrize("failure", [FailureClass.ALGORITHM_ERROR, FailureClass.CRASHED])
def test_a_publisher_flow_has_no_rules_about_algorithms(failure: FailureClass) -> None:
    check(rule(failure=failure), CHAIN)
    with pytest.raises(InvalidInput, match="runs no algorithm: leave out retry rules"):
        check(rule(failure=failure), PUBLISHER)


def test_without_an_order_there_is_no_key_to_halt() -> None:
    halting = (RetryRule(give_up=GiveUp.HALT_KEY),)
    for order in set(DeliveryOrder) - {DeliveryOrder.NONE}:
        check(DeliverySettings(order=order, retries=halting), SUBSCRIBER)
    with pytest.raises(InvalidInput, match="no record waits for its key: choose an order"):
        check(DeliverySettings(order=DeliveryOrder.NONE, retries=halting), SUBSCRIBER)
