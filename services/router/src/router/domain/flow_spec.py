"""Everything that a pump has to know about its flow, frozen when the pump is made.

A change of any field is a new spec and so a new pump; a spec never holds a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from catalog.events import DeliveryOrder, FlowKind, SecurityProtocol, StartAt

from router.domain.retry_policy import RetryPolicy

INTERNAL_CONNECTION = "internal"
"""Stands in a `connection_id` for our own Kafka."""

CONCURRENCY_DEFAULT = 64
CONCURRENCY_MAX = 1_000
TIMEOUT_DEFAULT_S = 300
TIMEOUT_MAX_S = 3_000
PARALLELISM_MAX = 64
"""Instances of one flow: one for each shard at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmName:
    """An algorithm by id and by the two names that stand in its path."""

    algorithm_id: str
    owner: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSourceSpec:
    """A topic that a flow reads, with the consumer group that remembers how far.

    `start` is where the flow begins on a partition for which its group has no committed offset.
    `read_committed` leaves out records of transactions that are open or were aborted.
    `wanted_since` is when a flow that reads completions was enabled last; None: not known.
    """

    connection_id: str
    topic: str
    group_id: str
    start: StartAt = StartAt.EARLIEST
    read_committed: bool = False
    wanted_since: datetime | None = None

    @property
    def is_ours(self) -> bool:
        """Is it a topic of completions? Then nobody but our retention takes its records away, and
        the flow goes on behind what is gone."""
        return self.connection_id == INTERNAL_CONNECTION


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmTargetSpec:
    """The version of an algorithm that a subscriber or chain flow runs."""

    algorithm: AlgorithmName
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTargetSpec:
    """The topic that a publisher flow writes."""

    connection_id: str
    topic: str


TargetSpec: TypeAlias = AlgorithmTargetSpec | KafkaTargetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTerms:
    """What the clients of a connection are made of. `secret_id` refers to the credentials, the key
    of the client certificate among them."""

    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol
    sasl_mechanism: str = ""
    ca_certificate: str = field(default="", repr=False)
    client_certificate: str = field(default="", repr=False)
    secret_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSpec:
    """One runnable flow.

    `algorithm` and `version` are what dead letters name: what is run (subscriber), or whose
    completions are followed (publisher, chain).
    `dead_letter_topic` is a topic of the flow's own connection; None: our internal topic
    `dead-letters`. `timeout_s` 0: the runner's default. `enabled_position` is where the flow was
    enabled last, so that enabling a failed one again is a new spec; `registry_position` is the
    place that this spec was derived at. `generation` is 0 for live delivery. `terms` are those of
    the flow's connection, so that a change of them is a new spec; None for chain flows.
    A flow with `parallelism` n has n specs, alike but for `instance` (0 to n - 1).
    """

    flow_id: str
    kind: FlowKind
    algorithm: AlgorithmName
    version: str
    account_id: str
    source: KafkaSourceSpec
    target: TargetSpec
    dead_letter_topic: str | None = None
    dead_letter_connection_id: str | None = None
    concurrency_max: int = CONCURRENCY_DEFAULT
    timeout_s: int = 0
    enabled_position: int
    registry_position: int
    generation: int = 0
    terms: ConnectionTerms | None = None
    order: DeliveryOrder = DeliveryOrder.KEY
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    instance: int = 0
    parallelism: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for a spec that cannot run: the supervisor made a mistake."""
        if not 1 <= self.concurrency_max <= CONCURRENCY_MAX:
            raise ValueError(f"concurrency_max must be 1 to {CONCURRENCY_MAX}")
        if not 0 <= self.timeout_s <= TIMEOUT_MAX_S:
            raise ValueError(f"timeout_s must be 0 to {TIMEOUT_MAX_S}")
        if not 1 <= self.parallelism <= PARALLELISM_MAX:
            raise ValueError(f"parallelism must be 1 to {PARALLELISM_MAX}")
        if not 0 <= self.instance < self.parallelism:
            raise ValueError("an instance must be one of the flow's parallelism, from 0")
        if DeliveryOrder.UNSPECIFIED is self.order or self.source.start is StartAt.UNSPECIFIED:
            raise ValueError("order and start must be named: the defaults are the caller's")
        if (self.dead_letter_topic is None) != (self.dead_letter_connection_id is None):
            raise ValueError("a dead letter topic and its connection are given together")
        wants_topic = self.kind is FlowKind.PUBLISHER
        if wants_topic != isinstance(self.target, KafkaTargetSpec):
            raise ValueError(f"a {self.kind.name} flow cannot have the target {self.target}")

    @property
    def call_timeout_s(self) -> int:
        """How long one run may take, seconds."""
        return self.timeout_s or TIMEOUT_DEFAULT_S


def same_flow(one: FlowSpec | None, other: FlowSpec | None) -> bool:
    """Do both specs ask for the same? The position at which a spec was derived does not count, nor
    how many instances there are beside this one: more or fewer of them disturb none."""
    if one is None or other is None:
        return one is other
    return (
        replace(one, registry_position=other.registry_position, parallelism=other.parallelism)
        == other
    )
