"""Prometheus metrics of one worker.

A scrape comes on a thread of its own, so it reads a snapshot that the event loop publishes once a
second or so. The only free label is the flow id, bounded by the worker's capacity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from router.domain.status import LAG_UNKNOWN, PumpState, PumpStatus

STATES = (*(state.value for state in PumpState), "blocked")
_FLOW = ("flow_id",)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSnapshot:
    """What the metrics tell. `flows_by_state` by the state's word; times in seconds."""

    flows: tuple[PumpStatus, ...] = ()
    flows_by_state: Mapping[str, int] = field(default_factory=dict)
    owned_shards: int = 0
    catalog_staleness_s: float = 0.0
    catalog_position: int = 0


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
        states = GaugeMetricFamily(
            "router_flows", "Flows of this worker by state.", labels=("state",)
        )
        for state in STATES:
            states.add_metric((state,), snapshot.flows_by_state.get(state, 0))
        yield states
        yield from _of_flows(snapshot.flows)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    metric = GaugeMetricFamily(name, meaning)
    metric.add_metric((), value)
    return metric


def _of_flows(flows: tuple[PumpStatus, ...]) -> Iterable[Metric]:
    settled = CounterMetricFamily(
        "router_flow_settled", "Deliveries settled since the flow started here.", labels=_FLOW
    )
    dead_lettered = CounterMetricFamily(
        "router_flow_dead_lettered", "Deliveries that became dead letters.", labels=_FLOW
    )
    retries = CounterMetricFamily(
        "router_flow_retries", "Attempts after the first one of a delivery.", labels=_FLOW
    )
    in_flight = GaugeMetricFamily("router_flow_in_flight", "Runs in progress.", labels=_FLOW)
    lag = GaugeMetricFamily(
        "router_flow_lag_records", "Records that wait; absent while unknown.", labels=_FLOW
    )
    progress = GaugeMetricFamily(
        "router_flow_last_progress_timestamp_seconds",
        "When a delivery was last finished or the source last found empty.",
        labels=_FLOW,
    )
    for flow in flows:
        label = (flow.flow_id,)
        settled.add_metric(label, flow.settled_total)
        dead_lettered.add_metric(label, flow.dead_lettered_total)
        retries.add_metric(label, flow.retries_total)
        in_flight.add_metric(label, flow.in_flight)
        if flow.lag_records != LAG_UNKNOWN:
            lag.add_metric(label, flow.lag_records)
        if flow.last_progress is not None:
            progress.add_metric(label, flow.last_progress.timestamp())
    return (settled, dead_lettered, retries, in_flight, lag, progress)
