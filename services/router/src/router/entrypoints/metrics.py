"""Prometheus metrics of one worker.

A scrape comes on a thread of its own, so it reads a snapshot that the event loop publishes once a
second or so. The labels are the flow id, bounded by the worker's capacity, and words of our own
(states, outcomes). Instances of a flow that run on the same worker are one series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from router.application.dead_letter_reader import ReaderStatus
from router.application.run_durations import BOUNDS_S
from router.application.task_figures import TaskTotals
from router.domain.flow_report import FlowReport, merged, report_of_pump
from router.domain.outcome import OutcomeKind
from router.domain.status import LAG_S_UNKNOWN, LAG_UNKNOWN, PumpState, PumpStatus
from router.entrypoints.dead_letter_metrics import dead_letter_metrics, task_metrics

STATES = tuple(state.value for state in PumpState)
_FLOW = ("flow_id",)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSnapshot:
    """What the metrics tell. `flows_by_state` by the state's word; times in seconds.

    `run_durations` as `RunDurations.snapshot` gives them.
    """

    flows: tuple[PumpStatus, ...] = ()
    flows_by_state: Mapping[str, int] = field(default_factory=dict)
    owned_shards: int = 0
    catalog_staleness_s: float = 0.0
    catalog_position: int = 0
    dead_letters: ReaderStatus | None = None
    dead_letter_tasks: TaskTotals | None = None
    run_durations: tuple[tuple[int, ...], float] = ((0,) * (len(BOUNDS_S) + 1), 0.0)


class WorkerMetrics(Collector):
    """Register it once with a Prometheus registry; `publish` from the event loop."""

    def __init__(self) -> None:
        self._snapshot = WorkerSnapshot()

    def publish(self, snapshot: WorkerSnapshot) -> None:
        """The next scrapes tell this."""
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Called by Prometheus on its thread."""
        snapshot = self._snapshot
        yield _gauge("router_owned_shards", "Shards of 64.", snapshot.owned_shards)
        yield _gauge(
            "router_catalog_staleness_seconds",
            "Since the registry was heard last.",
            snapshot.catalog_staleness_s,
        )
        yield _gauge(
            "router_catalog_position",
            "Position of the log that the catalog has reached.",
            snapshot.catalog_position,
        )
        if snapshot.dead_letters is not None:
            yield from dead_letter_metrics(snapshot.dead_letters)
        if snapshot.dead_letter_tasks is not None:
            yield from task_metrics(snapshot.dead_letter_tasks)
        states = GaugeMetricFamily(
            "router_flows", "Flow instances of this worker by state.", labels=("state",)
        )
        for state in STATES:
            states.add_metric((state,), snapshot.flows_by_state.get(state, 0))
        yield states
        yield _durations(*snapshot.run_durations)
        yield from _of_flows(_by_flow(snapshot.flows))


class _Flow(NamedTuple):
    """The instances of a flow that run here, and what they are together."""

    report: FlowReport
    instances: tuple[PumpStatus, ...]

    def total(self, count: Callable[[PumpStatus], int]) -> int:
        return sum(map(count, self.instances))


def _by_flow(statuses: Iterable[PumpStatus]) -> list[_Flow]:
    """`statuses` come in the order of their flow ids."""
    flows = []
    for _, group in groupby(statuses, key=lambda status: status.flow_id):
        instances = tuple(group)
        report = merged([report_of_pump(status, worker="") for status in instances])
        flows.append(_Flow(report, instances))
    return flows


def _gauge(name: str, meaning: str, value: float) -> Metric:
    metric = GaugeMetricFamily(name, meaning)
    metric.add_metric((), value)
    return metric


def _durations(counts: Sequence[int], sum_s: float) -> Metric:
    metric = HistogramMetricFamily(
        "router_run_duration_seconds",
        "How long runs took from here, of all flows of this worker, however they ended.",
    )
    buckets, up_to = [], 0
    for bound, count in zip([*map(str, map(float, BOUNDS_S)), "+Inf"], counts, strict=True):
        up_to += count
        buckets.append((bound, up_to))
    metric.add_metric((), buckets, sum_s)
    return metric


_COUNTERS: tuple[tuple[str, str, Callable[[PumpStatus], int]], ...] = (
    (
        "router_flow_settled",
        "Deliveries settled since the flow started here.",
        lambda status: status.settled_total,
    ),
    (
        "router_flow_dead_lettered",
        "Deliveries that became dead letters.",
        lambda status: status.dead_lettered_total,
    ),
    (
        "router_flow_retries",
        "Attempts that failed and were followed by another one.",
        lambda status: status.retries_total,
    ),
    (
        "router_flow_repeats",
        "Deliveries received that had been begun before.",
        lambda status: status.repeats_total,
    ),
    (
        "router_flow_expired",
        "Completions that their topic's retention took before they were read.",
        lambda status: status.expired_total,
    ),
    ("router_flow_commits", "Settles of positions.", lambda status: status.commits_total),
    (
        "router_flow_commit_metadata_ignored",
        "Commits found whose metadata could not be used.",
        lambda status: status.commit_metadata_ignored_total,
    ),
    (
        "router_flow_commit_metadata_cut",
        "Commits of a partition without room for all finished offsets.",
        lambda status: status.commit_metadata_cut_total,
    ),
    (
        "router_flow_source_restarts",
        "Sources that were opened anew because nothing moved.",
        lambda status: status.source_restarts_total,
    ),
)

_GAUGES: tuple[tuple[str, str, Callable[[FlowReport], float | None]], ...] = (
    ("router_flow_in_flight", "Runs in progress.", lambda flow: flow.in_flight),
    (
        "router_flow_lag_records",
        "Records that wait; absent while unknown.",
        lambda flow: None if flow.lag_records == LAG_UNKNOWN else flow.lag_records,
    ),
    (
        "router_flow_lag_seconds",
        "Age of the oldest record that waits; absent while unknown.",
        lambda flow: None if flow.lag_s == LAG_S_UNKNOWN else flow.lag_s,
    ),
    ("router_flow_held_bytes", "Received and not done.", lambda flow: flow.bytes_held),
    (
        "router_flow_oldest_unsettled_seconds",
        "For how long the oldest delivery that is not done has been held.",
        lambda flow: flow.oldest_unsettled_s,
    ),
    ("router_flow_halted_keys", "Keys that a rule halted.", lambda flow: flow.halted_keys),
    (
        "router_flow_healthy",
        "0 while records wait and nothing was done for too long.",
        lambda flow: flow.healthy,
    ),
    (
        "router_flow_last_progress_timestamp_seconds",
        "When something was last done, or the source last found empty.",
        lambda flow: None if flow.last_progress is None else flow.last_progress.timestamp(),
    ),
)


def _of_flows(flows: Sequence[_Flow]) -> Iterable[Metric]:
    for name, meaning, count in _COUNTERS:
        counter = CounterMetricFamily(name, meaning, labels=_FLOW)
        for flow in flows:
            counter.add_metric((flow.report.flow_id,), flow.total(count))
        yield counter
    for name, meaning, value in _GAUGES:
        gauge = GaugeMetricFamily(name, meaning, labels=_FLOW)
        for flow in flows:
            known = value(flow.report)
            if known is not None:
                gauge.add_metric((flow.report.flow_id,), known)
        yield gauge
    yield _attempts(flows)
    yield _states(flows)


def _attempts(flows: Sequence[_Flow]) -> Metric:
    metric = CounterMetricFamily(
        "router_flow_attempts", "Attempts that ended, by outcome.", labels=("flow_id", "outcome")
    )
    for flow in flows:
        for kind in OutcomeKind:
            ended = sum(status.attempts.get(kind, 0) for status in flow.instances)
            metric.add_metric((flow.report.flow_id, kind.value), ended)
    return metric


def _states(flows: Sequence[_Flow]) -> Metric:
    metric = GaugeMetricFamily(
        "router_flow_state",
        "1 for the state that the flow is in, 0 for the others.",
        labels=("flow_id", "state"),
    )
    for flow in flows:
        for state in STATES:
            metric.add_metric((flow.report.flow_id, state), float(flow.report.state.value == state))
    return metric
