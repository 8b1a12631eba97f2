"""What is known about one flow, wherever it runs: a pump's words, or why there is no pump."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from router.domain.status import LAG_UNKNOWN, PumpStatus


class ReportState(Enum):
    """A pump's states, and the two of flows without a pump. The values are what people read."""

    UNKNOWN = "unknown"
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    DRAINING = "draining"
    PAUSED = "paused"
    HALTED = "halted"
    STOPPED = "stopped"
    FAILED = "failed"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowReport:
    """As `PumpStatus`, with the worker that says so; empty worker: derived from the catalog."""

    flow_id: str
    state: ReportState
    reason: str = ""
    since: datetime | None = None
    last_progress: datetime | None = None
    worker: str = ""
    lag_records: int = LAG_UNKNOWN
    in_flight: int = 0
    settled_total: int = 0
    dead_lettered_total: int = 0
    retries_total: int = 0
    partitions: int = 0


def report_of_pump(status: PumpStatus, *, worker: str) -> FlowReport:
    """The report of a flow that `worker` runs."""
    return FlowReport(
        flow_id=status.flow_id,
        state=ReportState(status.state.value),
        reason=status.reason,
        since=status.since,
        last_progress=status.last_progress,
        worker=worker,
        lag_records=status.lag_records,
        in_flight=status.in_flight,
        settled_total=status.settled_total,
        dead_lettered_total=status.dead_lettered_total,
        retries_total=status.retries_total,
        partitions=status.partitions,
    )


_OVERRULED = {ReportState.UNKNOWN: 0, ReportState.STOPPED: 1, ReportState.DRAINING: 2}
_ANY_OTHER = 3


def prevailing(one: FlowReport, other: FlowReport) -> FlowReport:
    """Of two reports of one flow the one that counts.

    During a handover the old owner drains while the new one starts: the new one's words count.
    """
    rank, other_rank = (_OVERRULED.get(report.state, _ANY_OTHER) for report in (one, other))
    return one if rank >= other_rank else other
