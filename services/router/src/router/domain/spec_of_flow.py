"""From what the catalog says of a runnable flow to the spec of its pump. Pure."""

from __future__ import annotations

from catalog.effective import AlgorithmTarget, Runnable, TopicTarget
from catalog.events import FlowKind
from catalog.identifiers import completions_topic
from catalog.records import Algorithm, Connection

from router.domain.flow_spec import (
    CONCURRENCY_DEFAULT,
    CONCURRENCY_MAX,
    INTERNAL_CONNECTION,
    TIMEOUT_MAX_S,
    AlgorithmName,
    AlgorithmTargetSpec,
    ConnectionTerms,
    FlowSpec,
    KafkaSourceSpec,
    KafkaTargetSpec,
    TargetSpec,
)


def group_id(group_prefix: str, flow_id: str) -> str:
    """The consumer group in which the customer's cluster remembers how far the flow came."""
    return f"{group_prefix}-{flow_id}"


def spec_of(runnable: Runnable, *, group_prefix: str, position: int) -> FlowSpec:
    """The spec of a runnable flow. Raises ValueError for what no pump can run."""
    flow, settings = runnable.flow, runnable.settings
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
    )


def _terms(connection: Connection | None) -> ConnectionTerms | None:
    if connection is None:
        return None
    return ConnectionTerms(
        bootstrap_servers=connection.bootstrap_servers,
        security_protocol=connection.security_protocol,
        sasl_mechanism=connection.sasl_mechanism,
        ca_certificate=connection.ca_certificate,
        secret_id="" if connection.credentials is None else connection.credentials.secret_id,
    )


def _source(runnable: Runnable, group: str) -> KafkaSourceSpec:
    channel = runnable.flow.channel
    if runnable.flow.kind is FlowKind.SUBSCRIBER:
        if channel is None or runnable.connection is None:
            raise ValueError("a subscriber flow needs a topic of a connection")
        return KafkaSourceSpec(
            connection_id=runnable.connection.connection_id, topic=channel.name, group_id=group
        )
    return KafkaSourceSpec(
        connection_id=INTERNAL_CONNECTION,
        topic=completions_topic(runnable.algorithm.algorithm_id),
        group_id=group,
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
