"""What may run is derived, never stored: `effective(catalog, flow_id)`.

One pure function, so every process at the same position comes to the same answer: take away a grant
and the flow is blocked everywhere, with the reason, and nobody has to be told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from catalog import blocking
from catalog.blocking import BlockReason, BlockReasonKind
from catalog.catalog import Catalog
from catalog.cycles import Node, closed_path
from catalog.events import ApiType, BrokerKind, FlowEnabled, FlowKind
from catalog.records import Algorithm, Connection, Flow, Version
from catalog.versions import flow_version, newest_version


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmTarget:
    """What a subscriber or chain flow runs."""

    algorithm: Algorithm
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicTarget:
    """What a publisher flow writes to."""

    connection: Connection
    topic: str


Target: TypeAlias = AlgorithmTarget | TopicTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Runnable:
    """A flow that may run, with everything that stands at both of its ends.

    `algorithm` and `version`: what a subscriber flow runs, or whose completions are taken; a chain
    flow's target runs at its newest published version. `connection` is None for chain flows.
    `dead_letter_topic` is a topic of `connection`; empty: our internal dead letters.
    """

    flow: Flow
    settings: FlowEnabled
    algorithm: Algorithm
    version: Version
    connection: Connection | None
    dead_letter_topic: str
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """A flow that may not run, with every reason that applies (at least one)."""

    reasons: tuple[BlockReason, ...]

    @property
    def sentence(self) -> str:
        """All reasons as one text for people."""
        return "; ".join(reason.sentence for reason in self.reasons)


def effective(catalog: Catalog, flow_id: str) -> Runnable | Blocked:
    """May this flow run, as of the catalog's position? Never raises."""
    flow = catalog.flow(flow_id)
    if flow is None:
        return Blocked(reasons=(blocking.flow_deleted(flow_id),))
    parts = _examine(catalog, flow)
    reasons = [*parts.reasons, *_cycle(catalog, flow)]
    runnable = None if reasons else parts.runnable(flow)
    return runnable or Blocked(reasons=tuple(reasons))


@dataclass(slots=True)
class _Parts:
    """What was found of a flow; a part that is missing has a reason."""

    algorithm: Algorithm | None = None
    version: Version | None = None
    connection: Connection | None = None
    target: Target | None = None
    reasons: list[BlockReason] = field(default_factory=list)

    def runnable(self, flow: Flow) -> Runnable | None:
        settings, algorithm, version, target = (
            flow.settings,
            self.algorithm,
            self.version,
            self.target,
        )
        if settings is None or algorithm is None or version is None or target is None:
            return None
        return Runnable(
            flow=flow,
            settings=settings,
            algorithm=algorithm,
            version=version,
            connection=self.connection,
            dead_letter_topic=settings.dead_letter_topic,
            target=target,
        )


def _examine(catalog: Catalog, flow: Flow) -> _Parts:
    """Everything but cycles."""
    parts = _Parts()
    if flow.settings is None:
        parts.reasons.append(blocking.disabled())
    parts.algorithm = catalog.algorithm(flow.algorithm_id)
    _examine_channel(catalog, flow, parts)
    if parts.algorithm is None:
        parts.reasons.append(blocking.algorithm_missing(flow.algorithm_id))
    else:
        parts.version = _examine_version(parts.algorithm, flow.settings, parts)
    _examine_dead_letters(catalog, flow, parts)
    _examine_target(catalog, flow, parts)
    return parts


def _examine_channel(catalog: Catalog, flow: Flow, parts: _Parts) -> None:
    channel = flow.channel
    if flow.kind is FlowKind.CHAIN:
        return
    if channel is None or channel.broker is not BrokerKind.KAFKA:
        broker = BrokerKind.UNSPECIFIED if channel is None else channel.broker
        parts.reasons.append(blocking.no_adapter_yet(broker))
        if channel is not None and broker is BrokerKind.SERVICE_BUS and not channel.credentials:
            parts.reasons.append(blocking.credentials_missing("the listener"))
        return
    parts.connection = catalog.connection(channel.connection_id)
    if parts.connection is None:
        name = catalog.deleted_connection_name(channel.connection_id)
        parts.reasons.append(blocking.connection_deleted(name or ""))
    elif _lacks_credentials(parts.connection):
        what = f"the connection {parts.connection.name}"
        parts.reasons.append(blocking.credentials_missing(what))
    if not catalog.is_granted(
        connection_id=channel.connection_id,
        topic=channel.name,
        algorithm_id=flow.algorithm_id,
        api_type=flow.api_type,
    ):
        name = _algorithm_name(catalog, flow.algorithm_id)
        parts.reasons.append(blocking.grant_revoked(name, channel.name, flow.kind))


def _examine_version(
    algorithm: Algorithm, settings: FlowEnabled | None, parts: _Parts
) -> Version | None:
    if not algorithm.versions:
        parts.reasons.append(blocking.no_published_version(algorithm))
        return None
    if settings is None:
        return None
    version = flow_version(algorithm, settings.algorithm_version)
    if version is None:
        parts.reasons.append(blocking.version_not_published(algorithm, settings.algorithm_version))
    return version


def _examine_dead_letters(catalog: Catalog, flow: Flow, parts: _Parts) -> None:
    topic = "" if flow.settings is None else flow.settings.dead_letter_topic
    if not topic:
        return
    connection_id = "" if flow.channel is None else flow.channel.connection_id
    granted = any(
        catalog.is_granted(
            connection_id=connection_id,
            topic=topic,
            algorithm_id=flow.algorithm_id,
            api_type=api_type,
        )
        for api_type in (ApiType.PUBLISHER, ApiType.DEAD_LETTER)
    )
    if not granted:
        name = _algorithm_name(catalog, flow.algorithm_id)
        parts.reasons.append(blocking.dead_letter_not_granted(name, topic))


def _examine_target(catalog: Catalog, flow: Flow, parts: _Parts) -> None:
    match flow.kind:
        case FlowKind.SUBSCRIBER:
            if parts.algorithm is not None and parts.version is not None:
                parts.target = AlgorithmTarget(algorithm=parts.algorithm, version=parts.version)
        case FlowKind.PUBLISHER:
            if parts.connection is not None and flow.channel is not None:
                parts.target = TopicTarget(connection=parts.connection, topic=flow.channel.name)
        case _:
            parts.target = _chain_target(catalog, flow.target_algorithm_id, parts)


def _chain_target(catalog: Catalog, algorithm_id: str, parts: _Parts) -> AlgorithmTarget | None:
    algorithm = catalog.algorithm(algorithm_id)
    if algorithm is None:
        parts.reasons.append(blocking.algorithm_missing(algorithm_id))
        return None
    version = newest_version(algorithm)
    if version is None:
        parts.reasons.append(blocking.no_published_version(algorithm))
        return None
    return AlgorithmTarget(algorithm=algorithm, version=version)


def _lacks_credentials(connection: Connection) -> bool:
    secrets = connection.security_protocol.has_sasl or bool(connection.client_certificate)
    return secrets and connection.credentials is None


def _cycle(catalog: Catalog, flow: Flow) -> tuple[BlockReason, ...]:
    if flow.settings is None or flow.settings.allow_cycle:
        return ()
    path = closed_path(catalog, flow, may_run=lambda one: not _examine(catalog, one).reasons)
    if path is None:
        return ()
    return (blocking.cycle([_node_name(catalog, node) for node in path]),)


def _node_name(catalog: Catalog, node: Node) -> str:
    connection_id, name = node
    return name if connection_id else _algorithm_name(catalog, name)


def _algorithm_name(catalog: Catalog, algorithm_id: str) -> str:
    algorithm = catalog.algorithm(algorithm_id)
    return algorithm_id if algorithm is None else algorithm.full_name


__all__ = [
    "AlgorithmTarget",
    "BlockReason",
    "BlockReasonKind",
    "Blocked",
    "Runnable",
    "Target",
    "TopicTarget",
    "effective",
]
