"""From what the catalog says of a runnable flow to the spec of its pump. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from catalog import events
from catalog.effective import AlgorithmTarget, Runnable, TopicTarget
from catalog.events import DeliveryOrder, DeliverySettings, FailureClass, FlowKind, StartAt
from catalog.identifiers import completions_topic
from catalog.records import Algorithm, Connection

from router.domain.flow_spec import (
    CONCURRENCY_DEFAULT,
    CONCURRENCY_MAX,
    INTERNAL_CONNECTION,
    PARALLELISM_MAX,
    TIMEOUT_MAX_S,
    AlgorithmName,
    AlgorithmTargetSpec,
    ConnectionTerms,
    FlowSpec,
    KafkaSourceSpec,
    KafkaTargetSpec,
    TargetSpec,
)
from router.domain.outcome import OutcomeKind
from router.domain.retry_policy import RetryPolicy, RetryRule

_DEFAULTS: Final = DeliverySettings()
_OUTCOME_OF_FAILURE: Final = {
    failure: None if failure is FailureClass.UNSPECIFIED else OutcomeKind[failure.name]
    for failure in FailureClass
}


def group_id(group_prefix: str, flow_id: str) -> str:
    """The consumer group in which a cluster remembers how far the flow came, in the workers' own
    way. Where the connection has a prefix, that one stands before the flow's id as it is."""
    return f"{group_prefix}-{flow_id}"


def instances(spec: FlowSpec) -> tuple[FlowSpec, ...]:
    """The specs of all instances of a flow, by number. They share its consumer group."""
    return tuple(replace(spec, instance=number) for number in range(spec.parallelism))


def spec_of(runnable: Runnable, *, group_prefix: str, position: int) -> FlowSpec:
    """The spec of a runnable flow (its first instance). Raises ValueError for what no pump can run.

    A pause is not part of it: a pump is steered, not made anew.
    """
    flow, settings = runnable.flow, runnable.settings
    delivery = settings.delivery or _DEFAULTS
    connection_id = "" if runnable.connection is None else runnable.connection.connection_id
    return FlowSpec(
        flow_id=flow.flow_id,
        kind=flow.kind,
        algorithm=_name(runnable.algorithm),
        version=runnable.version.version,
        account_id=flow.owner_id,
        source=_source(runnable, group_id(group_prefix, flow.flow_id)),
        target=_target(runnable),
        dead_letter_topic=runnable.dead_letter_topic or None,
        dead_letter_connection_id=connection_id if runnable.dead_letter_topic else None,
        concurrency_max=min(settings.concurrency_max or CONCURRENCY_DEFAULT, CONCURRENCY_MAX),
        timeout_s=min(settings.timeout_s, TIMEOUT_MAX_S),
        enabled_position=flow.enabled_position,
        registry_position=position,
        terms=_terms(runnable.connection),
        order=delivery.order or DeliveryOrder.KEY,
        retries=RetryPolicy(rules=tuple(map(_rule, delivery.retries))),
        parallelism=min(max(delivery.parallelism, 1), PARALLELISM_MAX),
    )


def _rule(rule: events.RetryRule) -> RetryRule:
    return RetryRule(
        failure=_OUTCOME_OF_FAILURE[rule.failure],
        error_type=rule.error_type,
        attempts_max=rule.attempts_max,
        age_max_s=float(rule.age_max_s),
        delay_first_s=rule.delay_first_ms / 1000,
        delay_longest_s=rule.delay_longest_ms / 1000,
        factor=rule.factor,
        give_up=rule.give_up,
    )


def _terms(connection: Connection | None) -> ConnectionTerms | None:
    if connection is None:
        return None
    return ConnectionTerms(
        bootstrap_servers=connection.bootstrap_servers,
        security_protocol=connection.security_protocol,
        sasl_mechanism=connection.sasl_mechanism,
        ca_certificate=connection.ca_certificate,
        client_certificate=connection.client_certificate,
        secret_id="" if connection.credentials is None else connection.credentials.secret_id,
    )


def _source(runnable: Runnable, group: str) -> KafkaSourceSpec:
    channel = runnable.flow.channel
    if runnable.flow.kind is FlowKind.SUBSCRIBER:
        if channel is None or runnable.connection is None:
            raise ValueError("a subscriber flow needs a topic of a connection")
        prefix, delivery = runnable.connection.group_prefix, runnable.settings.delivery or _DEFAULTS
        return KafkaSourceSpec(
            connection_id=runnable.connection.connection_id,
            topic=channel.name,
            group_id=f"{prefix}{runnable.flow.flow_id}" if prefix else group,
            start=delivery.start or StartAt.EARLIEST,
            read_committed=delivery.read_committed,
        )
    return KafkaSourceSpec(
        connection_id=INTERNAL_CONNECTION,
        topic=completions_topic(runnable.algorithm.algorithm_id),
        group_id=group,
        wanted_since=runnable.flow.enabled_time,
    )


def _target(runnable: Runnable) -> TargetSpec:
    match runnable.target:
        case AlgorithmTarget(algorithm=algorithm, version=version):
            return AlgorithmTargetSpec(algorithm=_name(algorithm), version=version.version)
        case TopicTarget(connection=connection, topic=topic):
            return KafkaTargetSpec(connection_id=connection.connection_id, topic=topic)


def _name(algorithm: Algorithm) -> AlgorithmName:
    return AlgorithmName(
        algorithm_id=algorithm.algorithm_id, owner=algorithm.owner_name, name=algorithm.name
    )
