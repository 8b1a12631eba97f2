"""The JSON of broker connections, topics and event flows; the rules are those of `wire`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.entrypoints.rest.wire import Body, Number, Seconds, Text, Time

ConnectionType = Literal[
    "kafka_sasl_ssl", "kafka_sasl_plaintext", "kafka_ssl", "kafka_unauthenticated_plaintext"
]
Order = Annotated[str | None, Meta(description="key (default), partition or none")]
Start = Annotated[str | None, Meta(description="earliest (default) or latest")]
Failure = Annotated[
    str | None,
    Meta(
        description="algorithm_error, refused, overloaded, timed_out, crashed, unreachable or "
        "no_answer; every class if left out"
    ),
]
GiveUp = Annotated[str | None, Meta(description="dead_letter (default), halt_key or halt_flow")]
Factor = Annotated[float, Meta(ge=0, le=1_000)]


class BrokerConnectionCreate(Body, frozen=True):
    """An external Kafka cluster. Username, password and client key are never shown again."""

    name: str
    broker_url: str
    connection_type: ConnectionType
    broker_username: Text = None
    broker_password: Text = None
    ca_certificate: Text = None
    sasl_mechanism: Text = None
    client_certificate: Text = None
    client_key: Text = None
    group_prefix: Text = None


class BrokerConnectionPut(Body, frozen=True):
    """All of a connection but its id. All credentials left out: those that it has are kept."""

    name: str
    broker_url: str
    connection_type: ConnectionType
    broker_username: Text = None
    broker_password: Text = None
    ca_certificate: Text = None
    sasl_mechanism: Text = None
    client_certificate: Text = None
    client_key: Text = None
    group_prefix: Text = None


class BrokerConnection(Struct, frozen=True):
    """A connection, without its credentials; `fingerprint` tells two passwords apart."""

    id: str
    name: str
    broker_url: str
    connection_type: str
    sasl_mechanism: str | None
    ca_certificate: str | None
    client_certificate: str | None
    client_certificate_subject: str | None
    client_certificate_expires_at: Time | None
    group_prefix: str | None
    has_credentials: bool
    fingerprint: str | None
    created_at: Time | None
    resource_type: Literal["broker_connection"] = "broker_connection"


class ConnectionTest(Struct, frozen=True):
    """What came of an attempt to connect; `problem` says which step failed and what to do."""

    connected: bool
    problem: str
    brokers: int
    topics: int
    duration_s: float


class GrantBody(Body, frozen=True):
    """One algorithm's permission on a topic."""

    algorithm: str
    api_type: str


class TopicAccessPut(Body, frozen=True):
    """All grants of a topic, in place of what stood before."""

    algorithms: list[GrantBody]


class Grant(Struct, frozen=True):
    """One algorithm's permission on a topic."""

    algorithm: str
    api_type: str


class TopicAccess(Struct, frozen=True):
    """Who may use a topic; the header ETag has the version to send in If-Match."""

    topic: str
    algorithms: list[Grant]


class Topic(Struct, frozen=True):
    """A topic of the broker; `partitions` is null when only grants know it."""

    name: str
    partitions: int | None
    algorithms: list[Grant]


class Topics(Struct, frozen=True):
    """All topics of a broker, by name."""

    topics: list[Topic]


class RetryRulePut(Body, frozen=True):
    """Retries of the failures that it fits; what is left out is the default of their class."""

    failure: Failure = None
    error_type: Text = None
    attempts_max: Number | None = None
    age_max_s: Seconds | None = None
    delay_first_ms: Number | None = None
    delay_longest_ms: Number | None = None
    factor: Factor | None = None
    give_up: GiveUp = None


class EventFlowPut(Body, frozen=True):
    """What an owner asks of a flow: all settings, what is left out has its default.

    Without a version: the newest published one.
    """

    enabled: bool
    algorithm_version: Text = None
    dead_letter_topic: Text = None
    concurrency_max: Number | None = None
    allow_cycle: bool | None = None
    timeout_s: Seconds | None = None
    order: Order = None
    parallelism: Number | None = None
    start: Start = None
    read_committed: bool | None = None
    retries: list[RetryRulePut] | None = None


class EventFlowPause(Body, frozen=True):
    """How to pause. `drain`: what was received is finished first; `reason` is for people."""

    drain: bool | None = None
    reason: Text = None


class RetryRule(Struct, frozen=True):
    """A rule as it was given; null: the default of the failure's class."""

    failure: str | None
    error_type: str | None
    attempts_max: int | None
    age_max_s: int | None
    delay_first_ms: int | None
    delay_longest_ms: int | None
    factor: float | None
    give_up: str


class Pause(Struct, frozen=True):
    """That a flow is to start nothing; whether it stands still already, its `state` tells."""

    drain: bool
    reason: str
    since: Time | None


class Live(Struct, frozen=True):
    """What the router's workers say of a flow, counted since they started it."""

    worker: str
    since: Time | None
    last_progress: Time | None
    lag_records: int | None
    in_flight: int
    settled_total: int
    dead_lettered_total: int
    retries_total: int
    partitions: int
    lag_s: float | None
    oldest_unsettled_s: float
    settled_per_s: float
    error_ratio: float
    repeats_total: int
    expired_total: int
    halted_keys: int
    bytes_held: int
    healthy: bool
    instances: int


class EventFlow(Struct, frozen=True):
    """A flow: what was asked of it, its state, why, and what the router says (null: nothing)."""

    id: str
    owner: str
    algorithm: str
    api_type: str
    broker: str
    connection: str | None
    connection_id: str | None
    topic: str
    enabled: bool
    algorithm_version: str | None
    dead_letter_topic: str | None
    concurrency_max: int | None
    allow_cycle: bool
    timeout_s: int | None
    order: str
    parallelism: int
    start: str
    read_committed: bool
    retries: list[RetryRule]
    paused: Pause | None
    state: str
    reason: str
    live: Live | None
    resource_type: Literal["event_flow"] = "event_flow"
