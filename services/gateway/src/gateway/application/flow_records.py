"""How an event flow is shown: what the catalog says may run, and what the router says of it now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from catalog.catalog import Catalog
from catalog.effective import Blocked, effective
from catalog.events import BrokerKind, DeliverySettings, FlowEnabled
from catalog.records import Flow, Pause
from eventflows.router.v1 import router_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.application.topic_access import API_TYPE_NAMES

STATE_DISABLED = "disabled"
STATE_BLOCKED = "blocked"
STATE_PAUSED = "paused"
STATE_ENABLED = "enabled"
"""May run, and no router says what it does."""
LIVE_STATES = {
    router_pb2.FLOW_STATE_STARTING: "starting",
    router_pb2.FLOW_STATE_RUNNING: "running",
    router_pb2.FLOW_STATE_BACKING_OFF: "backing_off",
    router_pb2.FLOW_STATE_DRAINING: "draining",
    router_pb2.FLOW_STATE_STOPPED: "stopped",
    router_pb2.FLOW_STATE_FAILED: "failed",
    router_pb2.FLOW_STATE_BLOCKED: STATE_BLOCKED,
    router_pb2.FLOW_STATE_PAUSED: STATE_PAUSED,
    router_pb2.FLOW_STATE_HALTED: "halted",
}
PAST_STATES = (STATE_DISABLED, STATE_BLOCKED, STATE_PAUSED, STATE_ENABLED)
"""What the catalog says without the router."""
STATES = tuple(dict.fromkeys([STATE_DISABLED, STATE_ENABLED, *LIVE_STATES.values()]))
BROKER_NAMES = {
    BrokerKind.KAFKA: "kafka",
    BrokerKind.SQS: "sqs",
    BrokerKind.SERVICE_BUS: "service_bus",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRecord:
    """What the workers say of a flow, counted since they started it. None: unknown."""

    worker: str
    since: datetime | None
    last_progress: datetime | None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRecord:
    """That a flow is paused, how and why. `since` is None when it is not known yet."""

    drain: bool
    reason: str
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRecord:
    """An event flow as it is shown. `stream_version` is the one to send in `If-Match`."""

    id: str
    owner: str
    algorithm: str
    api_type: str
    broker: str
    connection: str
    connection_id: str
    topic: str
    enabled: bool
    algorithm_version: str
    dead_letter_topic: str
    concurrency_max: int
    allow_cycle: bool
    timeout_s: int
    delivery: DeliverySettings
    paused: PauseRecord | None
    state: str
    reason: str
    live: LiveRecord | None
    stream_version: int


Statuses = Mapping[str, router_pb2.FlowStatus]


def flow_record(catalog: Catalog, flow: Flow, statuses: Statuses) -> FlowRecord:
    """The flow, with the router's word on it where there is one.

    Whether it is disabled or blocked is the catalog's to say: the router may be a moment behind.
    Whether it stands still already is the router's: `paused` tells what was asked of it.
    """
    from_catalog = _from_catalog(catalog, flow)
    status = statuses.get(flow.flow_id)
    if status is None or from_catalog.state not in (STATE_ENABLED, STATE_PAUSED):
        return from_catalog
    return replace(
        from_catalog,
        state=LIVE_STATES.get(status.state, STATE_ENABLED),
        reason=status.reason,
        live=_live(status),
    )


def as_paused(record: FlowRecord, paused: PauseRecord) -> FlowRecord:
    """The record as the catalog will have it once it knows of this pause."""
    if record.state != STATE_ENABLED:
        return replace(record, paused=paused)
    return replace(record, paused=paused, state=STATE_PAUSED, reason=paused.reason)


def _from_catalog(catalog: Catalog, flow: Flow) -> FlowRecord:
    state, reason = _state(catalog, flow)
    settings = flow.last_settings or FlowEnabled(flow_id=flow.flow_id)
    algorithm = catalog.algorithm(flow.algorithm_id)
    owner = catalog.account(flow.owner_id)
    channel = flow.channel
    connection_id = channel.connection_id if channel is not None else ""
    return FlowRecord(
        id=flow.flow_id,
        owner=owner.username if owner is not None else flow.owner_id,
        algorithm=algorithm.full_name if algorithm is not None else flow.algorithm_id,
        api_type=API_TYPE_NAMES.get(flow.api_type, "chain"),
        broker=BROKER_NAMES[channel.broker] if channel is not None else "",
        connection=_connection_name(catalog, connection_id),
        connection_id=connection_id,
        topic=channel.name if channel is not None else "",
        enabled=flow.settings is not None,
        algorithm_version=settings.algorithm_version,
        dead_letter_topic=settings.dead_letter_topic,
        concurrency_max=settings.concurrency_max,
        allow_cycle=settings.allow_cycle,
        timeout_s=settings.timeout_s,
        delivery=settings.delivery or DeliverySettings(),
        paused=_paused(flow.paused),
        state=state,
        reason=reason,
        live=None,
        stream_version=flow.stream_version,
    )


def _state(catalog: Catalog, flow: Flow) -> tuple[str, str]:
    verdict = effective(catalog, flow.flow_id)
    reason = verdict.sentence if isinstance(verdict, Blocked) else ""
    if flow.settings is None:
        return STATE_DISABLED, reason
    if reason:
        return STATE_BLOCKED, reason
    if flow.paused is not None:
        return STATE_PAUSED, flow.paused.reason
    return STATE_ENABLED, ""


def _paused(pause: Pause | None) -> PauseRecord | None:
    if pause is None:
        return None
    return PauseRecord(drain=pause.drain, reason=pause.reason, since=pause.time)


def _connection_name(catalog: Catalog, connection_id: str) -> str:
    """Of a deleted connection too: its flows stay to be seen, blocked."""
    connection = catalog.connection(connection_id)
    if connection is not None:
        return connection.name
    return catalog.deleted_connection_name(connection_id) or ""


def _live(status: router_pb2.FlowStatus) -> LiveRecord:
    return LiveRecord(
        worker=status.worker,
        since=_time(status.since),
        last_progress=_time(status.last_progress),
        lag_records=status.lag_records if status.lag_records >= 0 else None,
        in_flight=status.in_flight,
        settled_total=status.settled_total,
        dead_lettered_total=status.dead_lettered_total,
        retries_total=status.retries_total,
        partitions=status.partitions,
        lag_s=status.lag_s if status.lag_s >= 0 else None,
        oldest_unsettled_s=status.oldest_unsettled_s,
        settled_per_s=status.settled_per_s,
        error_ratio=status.error_ratio,
        repeats_total=status.repeats_total,
        expired_total=status.expired_total,
        halted_keys=status.halted_keys,
        bytes_held=status.bytes_held,
        healthy=status.healthy,
        instances=status.instances,
    )


def _time(stamp: Timestamp) -> datetime | None:
    """Unset is None."""
    return stamp.ToDatetime(tzinfo=UTC) if stamp.seconds or stamp.nanos else None
