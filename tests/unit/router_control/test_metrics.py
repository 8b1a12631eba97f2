"""What Prometheus reads from a worker."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry
from router.domain.status import LAG_UNKNOWN
from router.entrypoints.metrics import WorkerMetrics, WorkerSnapshot

from tests.support.manual_clock import BEGINNING
from tests.unit.router_control.test_flow_status import status


def value_of(metrics: WorkerMetrics, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(metrics)
    return registry.get_sample_value(name, labels)


def test_every_number_of_a_flow_is_there() -> None:
    metrics = WorkerMetrics()
    flow = replace(status("a"), last_progress=BEGINNING)
    metrics.publish(WorkerSnapshot(flows=(flow,), flows_by_state={"running": 1}, owned_shards=32))
    assert value_of(metrics, "router_owned_shards") == 32
    assert value_of(metrics, "router_flows", state="running") == 1
    assert value_of(metrics, "router_flows", state="failed") == 0
    assert value_of(metrics, "router_flow_settled_total", flow_id="a") == 11
    assert value_of(metrics, "router_flow_dead_lettered_total", flow_id="a") == 1
    assert value_of(metrics, "router_flow_retries_total", flow_id="a") == 4
    assert value_of(metrics, "router_flow_in_flight", flow_id="a") == 2
    assert value_of(metrics, "router_flow_lag_records", flow_id="a") == 3
    progress = value_of(metrics, "router_flow_last_progress_timestamp_seconds", flow_id="a")
    assert progress == BEGINNING.timestamp()


def test_what_is_not_known_is_absent() -> None:
    metrics = WorkerMetrics()
    metrics.publish(WorkerSnapshot(flows=(replace(status("a"), lag_records=LAG_UNKNOWN),)))
    assert value_of(metrics, "router_flow_lag_records", flow_id="a") is None
    progress = value_of(metrics, "router_flow_last_progress_timestamp_seconds", flow_id="a")
    assert progress is None


def test_a_flow_that_left_the_worker_leaves_its_metrics() -> None:
    metrics = WorkerMetrics()
    metrics.publish(WorkerSnapshot(flows=(status("a"),)))
    metrics.publish(WorkerSnapshot())
    assert value_of(metrics, "router_flow_settled_total", flow_id="a") is None
