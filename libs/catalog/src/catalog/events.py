"""The events of the log as domain code sees them: frozen records, one a kind.

Each class mirrors the message of the same name in `proto/eventflows/events/v1/events.proto`, field
by field; `catalog.codec` maps them by name and a test holds both sides equal. Absent strings are
empty, as in protobuf; an absent record is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import TypeAlias


class AccountKind(IntEnum):
    """Who owns things."""

    UNSPECIFIED = 0
    USER = 1
    ORGANIZATION = 2


class KeyType(IntEnum):
    """Standard keys call and manage algorithms; admin keys are for admin paths only."""

    UNSPECIFIED = 0
    STANDARD = 1
    ADMIN = 2


class SourceKind(IntEnum):
    """Where an algorithm's code is: a git repository, or behind an HTTP URL."""

    UNSPECIFIED = 0
    GIT = 1
    ENDPOINT = 2


class Callability(IntEnum):
    """Who may call a version."""

    UNSPECIFIED = 0
    PRIVATE = 1
    PUBLIC = 2


class SecurityProtocol(IntEnum):
    """How a Kafka connection is secured."""

    UNSPECIFIED = 0
    PLAINTEXT = 1
    SASL_SSL = 2
    SSL = 3
    SASL_PLAINTEXT = 4

    @property
    def has_sasl(self) -> bool:
        """Does a client give a user name and a password?"""
        return self in (SecurityProtocol.SASL_SSL, SecurityProtocol.SASL_PLAINTEXT)

    @property
    def has_tls(self) -> bool:
        """Is what goes over the network encrypted?"""
        return self in (SecurityProtocol.SASL_SSL, SecurityProtocol.SSL)


class ApiType(IntEnum):
    """What a grant allows an algorithm to do with a topic."""

    UNSPECIFIED = 0
    PUBLISHER = 1
    SUBSCRIBER = 2
    DEAD_LETTER = 3


class FlowKind(IntEnum):
    """Direction of a flow."""

    UNSPECIFIED = 0
    SUBSCRIBER = 1
    PUBLISHER = 2
    CHAIN = 3


class BrokerKind(IntEnum):
    """Whose protocol a channel speaks."""

    UNSPECIFIED = 0
    KAFKA = 1
    SQS = 2
    SERVICE_BUS = 3


class DeliveryOrder(IntEnum):
    """What keeps the order of a source's records. UNSPECIFIED: as KEY."""

    UNSPECIFIED = 0
    KEY = 1
    PARTITION = 2
    NONE = 3


class StartAt(IntEnum):
    """Where a flow begins that has no position yet. UNSPECIFIED: as EARLIEST."""

    UNSPECIFIED = 0
    EARLIEST = 1
    LATEST = 2


class FailureClass(IntEnum):
    """The classes of failed attempts. UNSPECIFIED: every class."""

    UNSPECIFIED = 0
    ALGORITHM_ERROR = 1
    REFUSED = 2
    OVERLOADED = 3
    TIMED_OUT = 4
    CRASHED = 5
    UNREACHABLE = 6
    NO_ANSWER = 7


class GiveUp(IntEnum):
    """What becomes of a delivery whose attempts are used up. UNSPECIFIED: as DEAD_LETTER."""

    UNSPECIFIED = 0
    DEAD_LETTER = 1
    HALT_KEY = 2
    HALT_FLOW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """A secret in the vault: its id and an 8 byte fingerprint."""

    secret_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One algorithm's permission on a topic."""

    algorithm_id: str
    api_type: ApiType


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """The broker's side of a flow: a topic of a connection, or a queue URI."""

    broker: BrokerKind
    connection_id: str = ""
    name: str
    role_arn: str = ""
    credentials: SecretRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCreated:
    """A user or an organization exists."""

    account_id: str
    kind: AccountKind
    username: str
    email: str
    fullname: str = ""
    company_name: str = ""
    company_role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyCreated:
    """A key was handed out; only its SHA-256 is known here."""

    account_id: str
    key_id: str
    label: str
    key_type: KeyType
    key_sha256: bytes
    mask: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRevoked:
    """A key is worth nothing any more."""

    account_id: str
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmCreated:
    """An algorithm exists, without a build."""

    algorithm_id: str
    owner_id: str
    owner_name: str
    name: str
    label: str = ""
    summary: str = ""
    tagline: str = ""
    source_kind: SourceKind
    source_url: str
    source_visibility: str = ""
    license: str = ""
    network_access: str = ""
    pipeline_enabled: bool = False
    algorithm_environment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFinished:
    """A commit was built, with success or not."""

    algorithm_id: str
    build_id: str
    commit_sha: str
    succeeded: bool
    log_tail: str
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPublished:
    """A successful build got a version number for ever."""

    algorithm_id: str
    version: str
    build_id: str
    commit_sha: str
    callability: Callability
    release_notes: str = ""
    sample_input: str = ""
    sample_output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCreated:
    """An admin linked an external Kafka cluster."""

    connection_id: str
    name: str
    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol
    sasl_mechanism: str = ""
    ca_certificate: str = ""
    credentials: SecretRef | None = None
    client_certificate: str = ""
    group_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionDeleted:
    """The link is gone; its flows are blocked."""

    connection_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionUpdated:
    """Everything of the connection but its id, in place of what stood before."""

    connection_id: str
    name: str
    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol
    sasl_mechanism: str = ""
    ca_certificate: str = ""
    credentials: SecretRef | None = None
    client_certificate: str = ""
    group_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCredentialsShredded:
    """Its secrets were destroyed; new ones come with ConnectionUpdated."""

    connection_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicAccessSet:
    """All grants of one topic, in place of what stood before."""

    topic_access_id: str
    connection_id: str
    topic: str
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowCreated:
    """A wire between a channel and an algorithm, or between two algorithms."""

    flow_id: str
    kind: FlowKind
    owner_id: str
    algorithm_id: str
    channel: Channel | None = None
    target_algorithm_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """Retries of the attempts that it fits. 0: the default of the failure's class.

    `attempts_max` counts the first attempt too; `age_max_s` begins with it.
    """

    failure: FailureClass = FailureClass.UNSPECIFIED
    error_type: str = ""
    attempts_max: int = 0
    age_max_s: int = 0
    delay_first_ms: int = 0
    delay_longest_ms: int = 0
    factor: float = 0.0
    give_up: GiveUp = GiveUp.UNSPECIFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """How a flow's records are delivered. Of several retry rules that fit the first counts."""

    order: DeliveryOrder = DeliveryOrder.UNSPECIFIED
    parallelism: int = 0
    start: StartAt = StartAt.UNSPECIFIED
    read_committed: bool = False
    retries: tuple[RetryRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowEnabled:
    """The flow runs with these settings from here on. Empty version: the newest published one."""

    flow_id: str
    algorithm_version: str = ""
    dead_letter_topic: str = ""
    concurrency_max: int = 0
    allow_cycle: bool = False
    timeout_s: int = 0
    delivery: DeliverySettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowDisabled:
    """The flow stands still and keeps its position."""

    flow_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowDeleted:
    """The flow is gone."""

    flow_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowCredentialsShredded:
    """The secrets of its channel were destroyed."""

    flow_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPaused:
    """Nothing new is started; with `drain` what was received already is finished first."""

    flow_id: str
    drain: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowResumed:
    """The flow goes on, and what it halted at is tried again."""

    flow_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSelection:
    """Which dead letters of a flow; every field that is given narrows it down.

    `since` (inclusive) and `until` (exclusive) are about when a delivery was given up; topic,
    partitions and offsets (both inclusive, both 0: all) are those of the source.
    """

    since: datetime | None = None
    until: datetime | None = None
    failure: FailureClass = FailureClass.UNSPECIFIED
    error_type: str = ""
    record_key: bytes = b""
    topic: str = ""
    partitions: tuple[int, ...] = ()
    offset_first: int = 0
    offset_last: int = 0
    letter_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveRequested:
    """Dead letters of a flow shall be sent again. Empty version: the flow's. `own_topic`: those in
    the flow's own dead letter topic, not those in the internal one."""

    dead_letter_task_id: str
    flow_id: str
    selection: DeadLetterSelection
    algorithm_version: str = ""
    rate_per_s: float = 0.0
    own_topic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeRequested:
    """Dead letters of a flow shall be forgotten."""

    dead_letter_task_id: str
    flow_id: str
    selection: DeadLetterSelection


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterTaskCancelled:
    """Nothing more shall be done for the task."""

    dead_letter_task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterTaskFinished:
    """Nothing more is done for the task; `problem` says why it could not be carried out."""

    dead_letter_task_id: str
    succeeded: int = 0
    failed: int = 0
    problem: str = ""


Event: TypeAlias = (
    AccountCreated
    | ApiKeyCreated
    | ApiKeyRevoked
    | AlgorithmCreated
    | BuildFinished
    | VersionPublished
    | ConnectionCreated
    | ConnectionDeleted
    | ConnectionUpdated
    | ConnectionCredentialsShredded
    | TopicAccessSet
    | FlowCreated
    | FlowEnabled
    | FlowDisabled
    | FlowDeleted
    | FlowCredentialsShredded
    | FlowPaused
    | FlowResumed
    | RedriveRequested
    | PurgeRequested
    | DeadLetterTaskCancelled
    | DeadLetterTaskFinished
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Who caused an event and by which command."""

    actor: str
    command_id: str
    correlation_id: str = ""
    traceparent: str = ""
    key_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """An event with its place in the log. `time` is aware UTC."""

    position: int
    stream_id: str
    version: int
    time: datetime
    metadata: Metadata
    event: Event
