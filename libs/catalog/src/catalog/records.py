"""What the catalog answers with: frozen records, one a kind of thing that the log tells of.

A record never changes; the catalog replaces it. `stream_version` is the version of the thing's own
stream (what `expected_version` is compared with), `position` the place of its newest event in the
whole log. Times are aware UTC. Absent strings are empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Final, NamedTuple

from catalog.events import (
    AccountKind,
    ApiType,
    Callability,
    Channel,
    DeadLetterSelection,
    FlowEnabled,
    FlowKind,
    Grant,
    KeyType,
    SecretRef,
    SecurityProtocol,
    SourceKind,
)

LEFT_OUT: Final = "left out of messages"
"""Key of a field's metadata: only look-ups need it, messages do not have it. Its value is what is
read in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key that is worth something; revoked ones are not kept."""

    key_id: str
    label: str
    key_type: KeyType
    key_sha256: bytes = field(metadata={LEFT_OUT: b""})
    mask: str
    created_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user or an organization; `keys` oldest first."""

    account_id: str
    kind: AccountKind
    username: str
    email: str
    fullname: str
    company_name: str
    company_role: str
    keys: tuple[ApiKey, ...]
    created_time: datetime
    position: int
    stream_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A finished build. `log_tail` is kept for the newest `BUILD_LOGS_KEPT_MAX` of an algorithm."""

    build_id: str
    commit_sha: str
    succeeded: bool
    log_tail: str
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A published build; `version` is `major.minor.patch`."""

    version: str
    build_id: str
    commit_sha: str
    callability: Callability
    release_notes: str
    sample_input: str
    sample_output: str
    published_time: datetime
    published_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """`owner_name/name`, its builds and its versions, both newest last."""

    algorithm_id: str
    owner_id: str
    owner_name: str
    name: str
    label: str
    summary: str
    tagline: str
    source_kind: SourceKind
    source_url: str
    source_visibility: str
    license: str
    network_access: str
    pipeline_enabled: bool
    algorithm_environment: str
    builds: tuple[Build, ...]
    versions: tuple[Version, ...]
    created_time: datetime
    position: int
    stream_version: int

    @property
    def full_name(self) -> str:
        """`owner/name`, as people write it."""
        return f"{self.owner_name}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An admin's link to an external Kafka cluster."""

    connection_id: str
    name: str
    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol
    sasl_mechanism: str
    ca_certificate: str
    credentials: SecretRef | None
    created_time: datetime
    position: int
    stream_version: int
    client_certificate: str = ""
    group_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicAccess:
    """All grants of one topic, in the order in which they were saved."""

    topic_access_id: str
    connection_id: str
    topic: str
    grants: tuple[Grant, ...]
    position: int
    stream_version: int


FLOW_CHANGES_KEPT_MAX = 64
"""Newest changes of one flow that stay in memory."""


class FlowChange(NamedTuple):
    """From `position` on the flow asks for `version` (empty: any); None: it is disabled."""

    position: int
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """That a flow starts nothing, how it came to rest and why (`reason` is for people).

    `position` and `time` tell when it went from running to paused: what is changed of the pause
    later leaves them as they are.
    """

    drain: bool
    reason: str
    position: int
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One directed wire. A Kafka flow exists from its grant on, before any event of its own.

    `settings` is None while the flow is disabled; `last_settings` are the newest it ever had, those
    of now too.
    `enabled_position` and `enabled_time` tell when it went from disabled to enabled: a change of
    settings leaves them as they are, so completions of before the change still count. They are 0
    and None while it is disabled. `changes` tells what it asked for and when, oldest first, at most
    FLOW_CHANGES_KEPT_MAX: a completion belongs to what stood when it came about.
    `created_position` is 0 for a flow that has only its grant, and so are `position` and
    `stream_version`. `paused` outlives disabling and enabling: whoever paused it resumes it.
    `resumed_position` is that of the newest resume, 0 before the first.
    """

    flow_id: str
    kind: FlowKind
    owner_id: str
    algorithm_id: str
    channel: Channel | None
    target_algorithm_id: str = ""
    settings: FlowEnabled | None = None
    last_settings: FlowEnabled | None = None
    enabled_position: int = 0
    enabled_time: datetime | None = None
    changes: tuple[FlowChange, ...] = field(default=(), metadata={LEFT_OUT: ()})
    created_position: int = 0
    position: int = 0
    stream_version: int = 0
    paused: Pause | None = None
    resumed_position: int = 0

    @property
    def api_type(self) -> ApiType:
        """The grant that a flow of this direction needs; UNSPECIFIED for a chain flow."""
        return _API_TYPE_OF_KIND.get(self.kind, ApiType.UNSPECIFIED)

    @property
    def own_dead_letter_topic(self) -> str:
        """By its newest settings, also while it is disabled; empty: it has none."""
        return "" if self.last_settings is None else self.last_settings.dead_letter_topic


_API_TYPE_OF_KIND = {
    FlowKind.SUBSCRIBER: ApiType.SUBSCRIBER,
    FlowKind.PUBLISHER: ApiType.PUBLISHER,
}


ENDED_TASKS_KEPT_MAX = 1000
"""Newest ended dead letter tasks of the cluster that stay in memory; the log has them all."""


class DeadLetterTaskKind(IntEnum):
    """What is to become of the dead letters; protobuf's own numbers."""

    UNSPECIFIED = 0
    REDRIVE = 1
    PURGE = 2


class DeadLetterTaskState(IntEnum):
    """How far a task is; protobuf's own numbers. CANCELLED and FINISHED are the end."""

    UNSPECIFIED = 0
    REQUESTED = 1
    CANCELLED = 2
    FINISHED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterTask:
    """Work on a flow's dead letters that somebody asked for, and how it ended.

    `algorithm_version` (empty: the flow's), `rate_per_s` and `own_topic` (those in the flow's own
    dead letter topic) are for redrives. `ended_time` is None while it goes on; `succeeded`,
    `failed` and `problem` are what the router said at the end.
    """

    dead_letter_task_id: str
    kind: DeadLetterTaskKind
    flow_id: str
    selection: DeadLetterSelection
    algorithm_version: str = ""
    rate_per_s: float = 0.0
    own_topic: bool = False
    state: DeadLetterTaskState = DeadLetterTaskState.REQUESTED
    succeeded: int = 0
    failed: int = 0
    problem: str = ""
    requested_time: datetime
    requested_position: int
    ended_time: datetime | None = None
    position: int
    stream_version: int
