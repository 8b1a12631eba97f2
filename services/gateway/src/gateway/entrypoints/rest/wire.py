"""The JSON of the REST API: what bodies may hold and what answers hold, field by field.

Names and order are Algorithmia's where it had the resource. A body with a field that is not here is
refused; the few fields that are accepted and not used say so. Clients send null for what they leave
out, so every optional field takes it.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

T = TypeVar("T")
Text = str | None
Seconds = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Time = Annotated[
    str, Meta(description="ISO 8601, milliseconds, UTC", extra_json_schema={"format": "date-time"})
]


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    """A request's body."""


class Empty(Body, frozen=True):
    """A body without fields; it may also be left out."""


class Page(Struct, Generic[T], frozen=True):
    """A page; `marker` and `next_link` are null on the last one."""

    marker: str | None
    next_link: str | None
    results: list[T]


class ErrorDetail(Struct, frozen=True, omit_defaults=True):
    """What went wrong. `id` finds an unexpected error in the log."""

    code: int
    message: str
    id: str | None = None


class Error(Struct, frozen=True):
    """Every error but one: of an unknown algorithm the management paths say only a string."""

    error: ErrorDetail | str


class Health(Struct, frozen=True):
    """The process is alive, or ready."""

    status: Literal["ok"]


# ---- users and keys ----------------------------------------------------------------------------


class UserCreate(Body, frozen=True):
    """A user to create. The last two are Algorithmia's; they are accepted and not used."""

    username: str
    email: str
    fullname: Text = None
    company_name: Text = None
    company_role: Text = None
    password_hash: Text = field(name="passwordHash", default=None)
    should_create_hello: bool | None = field(name="shouldCreateHello", default=None)


class User(Struct, frozen=True):
    """A user: the fields of the Event Flows page, no more and no fewer."""

    id: str
    username: str
    email: str
    fullname: str
    company_role: str
    self_link: str
    resource_type: Literal["user"] = "user"


class KeyCreate(Body, frozen=True):
    """An API key to create."""

    key_type: Literal["AlgorithmKey", "ManagementKey", "PlatformAdminKey"]
    key_label: Text = None


class Key(Struct, frozen=True):
    """An API key; `api_key` is there only in the answer that creates it."""

    id: str
    username: str
    key_label: str
    key_type: str
    api_key_mask: str
    created_at: Time | None
    api_key: str | UnsetType = UNSET


# ---- algorithms --------------------------------------------------------------------------------


class Details(Body, frozen=True):
    """What people read about an algorithm."""

    label: Text = None
    summary: Text = None
    tagline: Text = None


class Settings(Body, frozen=True):
    """Settings. The ones after `algorithm_environment` are accepted and not used at creation."""

    source_visibility: Text = None
    license: Text = None
    network_access: Text = None
    pipeline_enabled: bool | None = None
    algorithm_environment: Text = None
    algorithm_callability: Text = None
    language: Text = None
    environment: Text = None
    package_set: Text = None
    royalty_microcredits: Number | None = None
    insights_enabled: bool | None = None


class SourceCreate(Body, frozen=True):
    """Where the code is: `git_url` or `endpoint_url`."""

    git_url: Text = None
    endpoint_url: Text = None


class VersionInfoCreate(Body, frozen=True):
    """Of an algorithm to create; accepted and not used: a version brings its own."""

    sample_input: Text = None


class AlgorithmCreate(Body, frozen=True):
    """An algorithm to create."""

    name: str
    source: SourceCreate
    details: Details | None = None
    settings: Settings | None = None
    version_info: VersionInfoCreate | None = None
    scms_credentials: dict[str, Any] | None = field(name="scmsCredentials", default=None)


class Compile(Body, frozen=True):
    """A build to make, of the head of the default branch when no commit is named."""

    commit_sha: Text = field(name="commitSha", default=None)


class PublishInfo(Body, frozen=True):
    """How to count the version up, and what to say of it."""

    version_type: Text = None
    release_notes: Text = None
    sample_input: Text = None
    sample_output: Text = None
    insights_enabled: bool | None = None


class Publish(Body, frozen=True):
    """A version to publish. The official client sends the last two, empty."""

    details: Details | None = None
    settings: Settings | None = None
    version_info: PublishInfo | None = None
    source: dict[str, Any] | None = None
    scms_credentials: dict[str, Any] | None = field(name="scmsCredentials", default=None)


class DetailsShown(Struct, frozen=True):
    """What people read about an algorithm."""

    label: str
    summary: str
    tagline: str


class SettingsShown(Struct, frozen=True):
    """Settings; the callability is that of the version shown."""

    algorithm_callability: str
    source_visibility: str
    license: str
    network_access: str
    pipeline_enabled: bool
    algorithm_environment: str


class VersionInfo(Struct, frozen=True, omit_defaults=True):
    """The version shown; without `semantic_version` it is a build that was not published."""

    git_hash: str
    semantic_version: str | None = None
    release_notes: str = ""
    sample_input: str = ""
    sample_output: str = ""


class BuildVersion(Struct, frozen=True):
    """The version that a build became."""

    semantic_version: str


class Build(Struct, frozen=True):
    """A build that has ended."""

    build_id: str
    status: Literal["succeeded", "failed"]
    commit_sha: str
    started_at: Time
    finished_at: Time
    version_info: BuildVersion | UnsetType = UNSET
    resource_type: Literal["algorithm_build"] = "algorithm_build"


class BuildLogs(Struct, frozen=True):
    """The end of a build's log; empty when it is no longer kept."""

    logs: str


class SourceShown(Struct, frozen=True, omit_defaults=True):
    """Where the code is."""

    git_url: str | None = None
    endpoint_url: str | None = None


class Compilation(Struct, frozen=True):
    """How the build ended."""

    successful: bool
    output: str


class Algorithm(Struct, frozen=True):
    """An algorithm, at a version, at a build, or at neither."""

    id: str
    owner: str
    name: str
    details: DetailsShown
    settings: SettingsShown
    source: SourceShown
    self_link: str
    version_info: VersionInfo | UnsetType = UNSET
    build: Build | UnsetType = UNSET
    compilation: Compilation | UnsetType = UNSET
    resource_type: Literal["algorithm"] = "algorithm"


# ---- event listeners ---------------------------------------------------------------------------


class EventListenerCreate(Body, frozen=True):
    """A queue to attach to an algorithm."""

    source_type: str = field(name="sourceType")
    source_uri: str = field(name="sourceURI")
    algo_name: str = field(name="algoName")
    algo_owner: str = field(name="algoOwner")
    credentials: str
    algo_version: Text = field(name="algoVersion", default=None)
    algo_timeout_seconds: Seconds | None = field(name="algoTimeoutSeconds", default=None)


class EventListener(Struct, frozen=True):
    """An item of the list: the fields of the Event Flows page, no more and no fewer."""

    id: str
    source_type: str = field(name="sourceType")
    source_uri: str = field(name="sourceURI")
    algo_name: str = field(name="algoName")
    algo_owner: str = field(name="algoOwner")
    listener_owner: str = field(name="listenerOwner")
    credentials: str


class EventListenerDetail(EventListener, frozen=True):
    """One listener: also the version, if one was given, and the timeout."""

    algo_timeout_seconds: int = field(name="algoTimeoutSeconds")
    algo_version: str | UnsetType = field(name="algoVersion", default=UNSET)


# ---- broker connections and topics -------------------------------------------------------------


class BrokerConnectionCreate(Body, frozen=True):
    """An external Kafka cluster. Username and password are never shown again."""

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


# ---- event flows -------------------------------------------------------------------------------


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
