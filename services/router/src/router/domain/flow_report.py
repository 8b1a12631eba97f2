"""What is known about one flow, wherever it runs: a pump's words, or why there is no pump.

A worker reports each instance of a flow by itself; whoever is asked about the flow merges them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final

from router.domain.status import LAG_S_UNKNOWN, LAG_UNKNOWN, PumpStatus


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
    """As `PumpStatus`, with the worker that says so; empty worker: derived from the catalog.

    `instances` is how many of the flow's instances it speaks of, without those that no worker
    reported; `instance` is which one, in a report of one.
    """

    flow_id: str
    state: ReportState
    instance: int = 0
    instances: int = 1
    reason: str = ""
    since: datetime | None = None
    last_progress: datetime | None = None
    worker: str = ""
    lag_records: int = LAG_UNKNOWN
    lag_s: float = LAG_S_UNKNOWN
    oldest_unsettled_s: float = 0.0
    in_flight: int = 0
    settled_per_s: float = 0.0
    error_ratio: float = 0.0
    settled_total: int = 0
    dead_lettered_total: int = 0
    retries_total: int = 0
    repeats_total: int = 0
    expired_total: int = 0
    halted_keys: int = 0
    bytes_held: int = 0
    partitions: int = 0
    healthy: bool = True


def report_of_pump(status: PumpStatus, *, worker: str) -> FlowReport:
    """The report of a flow's instance that `worker` runs."""
    return FlowReport(
        flow_id=status.flow_id,
        state=ReportState(status.state.value),
        instance=status.instance,
        reason=status.reason,
        since=status.since,
        last_progress=status.last_progress,
        worker=worker,
        lag_records=status.lag_records,
        lag_s=status.lag_s,
        oldest_unsettled_s=status.oldest_unsettled_s,
        in_flight=status.in_flight,
        settled_per_s=status.settled_per_s,
        error_ratio=status.error_ratio,
        settled_total=status.settled_total,
        dead_lettered_total=status.dead_lettered_total,
        retries_total=status.retries_total,
        repeats_total=status.repeats_total,
        expired_total=status.expired_total,
        halted_keys=status.halted_keys,
        bytes_held=status.bytes_held,
        partitions=status.partitions,
        healthy=status.healthy,
    )


_OVERRULED: Final = {ReportState.UNKNOWN: 0, ReportState.STOPPED: 1, ReportState.DRAINING: 2}
_ANY_OTHER: Final = 3


def prevailing(one: FlowReport, other: FlowReport) -> FlowReport:
    """Of two reports of one instance the one that counts.

    During a handover the old owner drains while the new one starts: the new one's words count.
    """
    rank, other_rank = (_OVERRULED.get(report.state, _ANY_OTHER) for report in (one, other))
    return one if rank >= other_rank else other


_WORST_FIRST: Final = (
    ReportState.FAILED,
    ReportState.BLOCKED,
    ReportState.UNKNOWN,
    ReportState.HALTED,
    ReportState.BACKING_OFF,
    ReportState.STARTING,
    ReportState.DRAINING,
    ReportState.PAUSED,
    ReportState.RUNNING,
    ReportState.STOPPED,
)


def merged(reports: Sequence[FlowReport]) -> FlowReport:
    """One report of a flow from those of its instances, at least one and each of another instance.

    State: the worst one, with the reason of the first instance that has it, and since when the
    oldest of those has. What counts records is added up, unknown if one is; ages and the error
    ratio are the highest; progress is the newest; healthy if all are.
    """
    if len(reports) == 1:
        return reports[0]
    state = min((report.state for report in reports), key=_WORST_FIRST.index)
    telling = sorted((r for r in reports if r.state is state), key=lambda r: r.instance)
    lags = [report.lag_records for report in reports]
    lags_s = [report.lag_s for report in reports]
    return replace(
        telling[0],
        instance=0,
        instances=sum(report.instances for report in reports),
        reason=_reason(telling, of=len(reports)),
        since=min(_known(report.since for report in telling), default=None),
        last_progress=max(_known(report.last_progress for report in reports), default=None),
        worker=", ".join(sorted({report.worker for report in reports if report.worker})),
        lag_records=LAG_UNKNOWN if LAG_UNKNOWN in lags else sum(lags),
        lag_s=LAG_S_UNKNOWN if LAG_S_UNKNOWN in lags_s else max(lags_s),
        oldest_unsettled_s=max(report.oldest_unsettled_s for report in reports),
        in_flight=sum(report.in_flight for report in reports),
        settled_per_s=sum(report.settled_per_s for report in reports),
        error_ratio=max(report.error_ratio for report in reports),
        settled_total=sum(report.settled_total for report in reports),
        dead_lettered_total=sum(report.dead_lettered_total for report in reports),
        retries_total=sum(report.retries_total for report in reports),
        repeats_total=sum(report.repeats_total for report in reports),
        expired_total=sum(report.expired_total for report in reports),
        halted_keys=sum(report.halted_keys for report in reports),
        bytes_held=sum(report.bytes_held for report in reports),
        partitions=sum(report.partitions for report in reports),
        healthy=all(report.healthy for report in reports),
    )


def _reason(telling: Sequence[FlowReport], *, of: int) -> str:
    """Who is meant is said only where it is not everybody, and something has to be said."""
    reason = telling[0].reason
    if not reason or len(telling) == of:
        return reason
    return f"{len(telling)} of {of} instances: {reason}"


def _known(times: Iterable[datetime | None]) -> list[datetime]:
    return [time for time in times if time is not None]
