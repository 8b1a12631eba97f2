"""From a flow's settings of delivery to the specs of its pumps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from catalog import events
from catalog.effective import Runnable, effective
from catalog.events import (
    ApiType,
    DeliveryOrder,
    DeliverySettings,
    FailureClass,
    GiveUp,
    SecurityProtocol,
    StartAt,
)
from router.domain.flow_spec import PARALLELISM_MAX, FlowSpec, same_flow
from router.domain.outcome import OutcomeKind
from router.domain.retry_policy import RetryPolicy, RetryRule
from router.domain.spec_of_flow import instances, spec_of

from tests.support.event_log import EventLog, flow_id_of, id_of

FLOW = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)


@pytest.fixture
def log() -> EventLog:
    """A subscriber flow that may be enabled."""
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/digits", "1.0.0")
    log.algorithm("acme/labels", "1.0.0")
    log.connection("plant")
    log.grant("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    return log


def spec(log: EventLog, flow_id: str = FLOW) -> FlowSpec:
    runnable = effective(log.catalog(), flow_id)
    assert isinstance(runnable, Runnable), runnable
    return spec_of(runnable, group_prefix="prefix", position=len(log.recorded))


def connection_updated(log: EventLog, **changed: object) -> None:
    known = log.catalog().connection(id_of("plant"))
    assert known is not None
    given = {
        "connection_id": known.connection_id,
        "name": known.name,
        "bootstrap_servers": known.bootstrap_servers,
        "security_protocol": known.security_protocol,
        **changed,
    }
    log.add(id_of("plant"), events.ConnectionUpdated(**given))  # type: ignore[arg-type]


def test_a_flow_without_settings_of_delivery_has_every_default(log: EventLog) -> None:
    log.enable(FLOW)
    absent = spec(log)
    assert absent.order is DeliveryOrder.KEY
    assert absent.retries == RetryPolicy()
    assert (absent.instance, absent.parallelism) == (0, 1)
    assert (absent.source.start, absent.source.read_committed) == (StartAt.EARLIEST, False)
    log.enable(FLOW, delivery=DeliverySettings())
    assert same_flow(spec(log), absent)


def test_every_setting_of_delivery_reaches_the_spec(log: EventLog) -> None:
    settings = DeliverySettings(
        order=DeliveryOrder.PARTITION, parallelism=3, start=StartAt.LATEST, read_committed=True
    )
    log.enable(FLOW, delivery=settings)
    found = spec(log)
    assert (found.order, found.parallelism) == (DeliveryOrder.PARTITION, 3)
    assert (found.source.start, found.source.read_committed) == (StartAt.LATEST, True)


def test_retry_rules_keep_their_order_and_speak_in_seconds(log: EventLog) -> None:
    rules = (
        events.RetryRule(
            failure=FailureClass.TIMED_OUT,
            error_type="Slow",
            attempts_max=4,
            age_max_s=60,
            delay_first_ms=250,
            delay_longest_ms=5_000,
            factor=1.5,
            give_up=GiveUp.HALT_KEY,
        ),
        events.RetryRule(give_up=GiveUp.HALT_FLOW),
    )
    log.enable(FLOW, delivery=DeliverySettings(retries=rules))
    assert spec(log).retries.rules == (
        RetryRule(
            failure=OutcomeKind.TIMED_OUT,
            error_type="Slow",
            attempts_max=4,
            age_max_s=60.0,
            delay_first_s=0.25,
            delay_longest_s=5.0,
            factor=1.5,
            give_up=GiveUp.HALT_KEY,
        ),
        RetryRule(give_up=GiveUp.HALT_FLOW),
    )


@pytest.mark.parametrize("failure", set(FailureClass) - {FailureClass.UNSPECIFIED})
def test_every_class_of_failure_is_one_of_the_pumps(log: EventLog, failure: FailureClass) -> None:
    log.enable(FLOW, delivery=DeliverySettings(retries=(events.RetryRule(failure=failure),)))
    (rule,) = spec(log).retries.rules
    assert rule.failure is not None
    assert rule.failure.name == failure.name


def test_more_instances_than_there_are_shards_are_never_made(log: EventLog) -> None:
    log.enable(FLOW, delivery=DeliverySettings(parallelism=PARALLELISM_MAX + 1))
    assert spec(log).parallelism == PARALLELISM_MAX


def test_the_instances_of_a_flow_differ_in_their_number_only(log: EventLog) -> None:
    log.enable(FLOW, delivery=DeliverySettings(parallelism=3))
    first = spec(log)
    found = instances(first)
    assert [one.instance for one in found] == [0, 1, 2]
    assert {replace(one, instance=0) for one in found} == {first}
    assert len({one.source.group_id for one in found}) == 1


def test_a_pause_makes_no_other_spec(log: EventLog) -> None:
    log.enable(FLOW)
    running = spec(log)
    log.pause(FLOW, drain=True, reason="maintenance")
    assert same_flow(spec(log), running)
    log.resume(FLOW)
    assert same_flow(spec(log), running)


def test_a_connections_prefix_stands_before_the_names_of_its_groups(log: EventLog) -> None:
    log.enable(FLOW)
    assert spec(log).source.group_id == f"prefix-{FLOW}"
    connection_updated(log, group_prefix="acme.")
    assert spec(log).source.group_id == f"acme.{FLOW}"


def test_a_connections_prefix_is_not_for_our_own_kafka(log: EventLog) -> None:
    connection_updated(log, group_prefix="acme.")
    flow_id = log.publish_to("plant", "labels", "acme/digits")
    assert spec(log, flow_id).source.group_id == f"prefix-{flow_id}"


def test_another_client_certificate_makes_another_spec_that_does_not_show_it(
    log: EventLog,
) -> None:
    log.enable(FLOW)
    before = spec(log)
    secret = events.SecretRef(secret_id=id_of("key"), fingerprint=b"12345678")
    connection_updated(
        log,
        security_protocol=SecurityProtocol.SSL,
        client_certificate="a certificate",
        credentials=secret,
    )
    after = spec(log)
    assert not same_flow(after, before)
    assert after.terms is not None
    assert after.terms.client_certificate == "a certificate"
    assert after.terms.secret_id == id_of("key")
    assert "a certificate" not in repr(after)
