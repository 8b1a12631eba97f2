"""What one worker tells another about a flow, as the message of router.v1: there and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from eventflows.router.v1 import router_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from router.domain.flow_report import FlowReport, ReportState

_STATES: Final = {
    ReportState.UNKNOWN: router_pb2.FLOW_STATE_UNSPECIFIED,
    ReportState.STARTING: router_pb2.FLOW_STATE_STARTING,
    ReportState.RUNNING: router_pb2.FLOW_STATE_RUNNING,
    ReportState.BACKING_OFF: router_pb2.FLOW_STATE_BACKING_OFF,
    ReportState.DRAINING: router_pb2.FLOW_STATE_DRAINING,
    ReportState.PAUSED: router_pb2.FLOW_STATE_PAUSED,
    ReportState.HALTED: router_pb2.FLOW_STATE_HALTED,
    ReportState.STOPPED: router_pb2.FLOW_STATE_STOPPED,
    ReportState.FAILED: router_pb2.FLOW_STATE_FAILED,
    ReportState.BLOCKED: router_pb2.FLOW_STATE_BLOCKED,
}
_STATES_BY_NUMBER: Final = {number: state for state, number in _STATES.items()}


def message_of(report: FlowReport) -> router_pb2.FlowStatus:
    """A report as the message of router.v1."""
    return router_pb2.FlowStatus(
        flow_id=report.flow_id,
        state=_STATES[report.state],
        reason=report.reason,
        since=_timestamp(report.since),
        last_progress=_timestamp(report.last_progress),
        worker=report.worker,
        lag_records=report.lag_records,
        in_flight=report.in_flight,
        settled_total=report.settled_total,
        dead_lettered_total=report.dead_lettered_total,
        retries_total=report.retries_total,
        partitions=report.partitions,
        lag_s=report.lag_s,
        oldest_unsettled_s=report.oldest_unsettled_s,
        settled_per_s=report.settled_per_s,
        error_ratio=report.error_ratio,
        repeats_total=report.repeats_total,
        expired_total=report.expired_total,
        halted_keys=report.halted_keys,
        bytes_held=report.bytes_held,
        healthy=report.healthy,
        instances=report.instances,
        instance=report.instance,
    )


def report_from_message(message: router_pb2.FlowStatus) -> FlowReport:
    """What another worker said. A state that this release does not know reads as unknown."""
    return FlowReport(
        flow_id=message.flow_id,
        state=_STATES_BY_NUMBER.get(message.state, ReportState.UNKNOWN),
        reason=message.reason,
        since=_time(message.since) if message.HasField("since") else None,
        last_progress=_time(message.last_progress) if message.HasField("last_progress") else None,
        worker=message.worker,
        lag_records=message.lag_records,
        in_flight=message.in_flight,
        settled_total=message.settled_total,
        dead_lettered_total=message.dead_lettered_total,
        retries_total=message.retries_total,
        partitions=message.partitions,
        lag_s=message.lag_s,
        oldest_unsettled_s=message.oldest_unsettled_s,
        settled_per_s=message.settled_per_s,
        error_ratio=message.error_ratio,
        repeats_total=message.repeats_total,
        expired_total=message.expired_total,
        halted_keys=message.halted_keys,
        bytes_held=message.bytes_held,
        healthy=message.healthy,
        instances=message.instances,
        instance=message.instance,
    )


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)
