"""What the catalog wants of each flow, as the spec of a pump or the reason why there is none.

Derived, never stored: `effective` decides whether a flow may run, this file says how. Answers are
kept for as long as the catalog does not move.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from catalog.catalog import Catalog
from catalog.effective import AlgorithmTarget, Blocked, Runnable, TopicTarget, effective
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedFlow:
    """An enabled flow that must not or cannot run. `reason` is a sentence for people."""

    flow_id: str
    reason: str


Plan: TypeAlias = FlowSpec | BlockedFlow


class CatalogFeed(Protocol):
    """The registry's log as a catalog that changes; `catalog.follow.CatalogFollower` is one."""

    @property
    def catalog(self) -> Catalog:
        """The catalog as it is now."""
        ...

    def changes(self) -> AsyncIterator[int]:
        """Yields the position after each applied batch, coalesced; never ends."""
        ...


class FlowPlans:
    """The plans of all enabled flows at the catalog's present position.

    Until `is_complete` says that the log was read up to its head once, no flow is enabled: one that
    the rest of the log disables must not run for a moment.
    """

    def __init__(
        self, feed: CatalogFeed, *, group_prefix: str, is_complete: Callable[[], bool]
    ) -> None:
        self._feed = feed
        self._group_prefix = group_prefix
        self._is_complete = is_complete
        self._at: tuple[int, int] | None = None
        self._plans: dict[str, Plan] = {}

    def enabled(self) -> tuple[str, ...]:
        """Ids of the enabled flows."""
        return self._feed.catalog.enabled_flow_ids() if self._is_complete() else ()

    def is_known(self, flow_id: str) -> bool:
        """Does the flow exist, enabled or not?"""
        return self._feed.catalog.flow(flow_id) is not None

    def plan(self, flow_id: str) -> Plan | None:
        """How the flow shall run, or why not; None for one that is not enabled."""
        catalog = self._feed.catalog
        flow = catalog.flow(flow_id)
        if flow is None or flow.settings is None:
            return None
        at = (id(catalog), catalog.position)
        if at != self._at:
            self._at, self._plans = at, {}
        plan = self._plans.get(flow_id)
        if plan is None:
            plan = self._plans[flow_id] = _plan(catalog, flow_id, self._group_prefix)
        return plan

    async def changes(self) -> AsyncIterator[int]:
        """Yields after each change of the catalog; never ends."""
        async for position in self._feed.changes():
            yield position


def group_id(group_prefix: str, flow_id: str) -> str:
    """The consumer group in which the customer's cluster remembers how far the flow came."""
    return f"{group_prefix}-{flow_id}"


def _plan(catalog: Catalog, flow_id: str, group_prefix: str) -> Plan:
    match effective(catalog, flow_id):
        case Blocked() as blocked:
            return BlockedFlow(flow_id=flow_id, reason=blocked.sentence)
        case Runnable() as runnable:
            try:
                return spec_of(runnable, group_prefix=group_prefix, position=catalog.position)
            except ValueError as error:
                return BlockedFlow(flow_id=flow_id, reason=f"its settings cannot run: {error}")


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
