"""The JSON of broker connections, topics and event flows; the rules are those of `wire`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gateway.entrypoints.rest.wire import Body, Number, Seconds, Text, Time


class BrokerConnectionCreate(Body, frozen=True):
    """An external Kafka cluster. Username and password are never shown again."""

    name: str
    broker_url: str
    connection_type: Literal["kafka_sasl_ssl", "kafka_unauthenticated_plaintext"]
    broker_username: Text = None
    broker_password: Text = None
    ca_certificate: Text = None
    sasl_mechanism: Text = None


class BrokerConnectionPut(Body, frozen=True):
    """All of a connection but its id. Both credentials left out: those that it has are kept."""

    name: str
    broker_url: str
    connection_type: Literal["kafka_sasl_ssl", "kafka_unauthenticated_plaintext"]
    broker_username: Text = None
    broker_password: Text = None
    ca_certificate: Text = None
    sasl_mechanism: Text = None


class BrokerConnection(Struct, frozen=True):
    """A connection, without its credentials; `fingerprint` tells two passwords apart."""

    id: str
    name: str
    broker_url: str
    connection_type: str
    sasl_mechanism: str | None
    ca_certificate: str | None
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


class EventFlowPut(Body, frozen=True):
    """What an owner asks of a flow. Without a version: the newest published one."""

    enabled: bool
    algorithm_version: Text = None
    dead_letter_topic: Text = None
    concurrency_max: Number | None = None
    allow_cycle: bool | None = None
    timeout_s: Seconds | None = None


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
    state: str
    reason: str
    live: Live | None
    resource_type: Literal["event_flow"] = "event_flow"
