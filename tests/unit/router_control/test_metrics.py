"""What Prometheus reads from a worker."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from router.application.run_durations import RunDurations
from router.application.supervisor import CAPACITY_MAX
from router.domain.outcome import OutcomeKind
from router.domain.status import LAG_S_UNKNOWN, LAG_UNKNOWN, PumpState
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


def test_an_outcome_is_a_label_and_every_one_is_there_from_the_start() -> None:
    metrics = WorkerMetrics()
    flow = replace(status("a"), attempts={OutcomeKind.SUCCEEDED: 5, OutcomeKind.REFUSED: 2})
    metrics.publish(WorkerSnapshot(flows=(flow,)))
    ended = {
        kind.value: value_of(metrics, "router_flow_attempts_total", flow_id="a", outcome=kind.value)
        for kind in OutcomeKind
    }
    assert ended == {kind.value: 0 for kind in OutcomeKind} | {"succeeded": 5, "refused": 2}


def test_the_state_of_a_flow_is_1_and_every_other_0() -> None:
    metrics = WorkerMetrics()
    metrics.publish(WorkerSnapshot(flows=(status("a", PumpState.HALTED),)))
    for state in PumpState:
        told = value_of(metrics, "router_flow_state", flow_id="a", state=state.value)
        assert told == (state is PumpState.HALTED)


def test_instances_of_a_flow_are_one_series() -> None:
    metrics = WorkerMetrics()
    paused = replace(status("a", PumpState.PAUSED, instance=1), lag_s=9.0)
    metrics.publish(WorkerSnapshot(flows=(status("a"), paused, status("b"))))
    assert value_of(metrics, "router_flow_settled_total", flow_id="a") == 22
    assert value_of(metrics, "router_flow_lag_seconds", flow_id="a") == 9
    assert value_of(metrics, "router_flow_state", flow_id="a", state="paused") == 1
    assert value_of(metrics, "router_flow_settled_total", flow_id="b") == 11


def test_durations_are_a_histogram_of_the_worker() -> None:
    durations, metrics = RunDurations(), WorkerMetrics()
    for duration_s in (0.0005, 0.002, 700):
        durations.add(duration_s)
    metrics.publish(WorkerSnapshot(run_durations=durations.snapshot()))
    name = "router_run_duration_seconds"
    buckets = [value_of(metrics, f"{name}_bucket", le=le) for le in ("0.001", "600.0", "+Inf")]
    assert buckets == [1, 2, 3]
    assert value_of(metrics, f"{name}_count") == 3
    assert value_of(metrics, f"{name}_sum") == 700.0025


def every_metric() -> list[Metric]:
    metrics = WorkerMetrics()
    full = replace(status("a"), last_progress=BEGINNING)
    metrics.publish(WorkerSnapshot(flows=(full,)))
    return list(metrics.collect())


COUNTED = ("records", "shards", "flows", "in_flight", "halted_keys", "position")
UNITS = ("seconds", "bytes")
FLAGS = ("healthy", "state")


def test_every_metric_says_what_it_means_and_in_which_unit() -> None:
    for metric in every_metric():
        assert metric.documentation.endswith("."), metric.name
        assert metric.name.startswith("router_"), metric.name
        known = COUNTED + UNITS + FLAGS
        assert metric.type == "counter" or metric.name.endswith(known), metric.name
        for sample in metric.samples:
            assert metric.type != "counter" or sample.name.endswith("_total"), sample.name
    names = [metric.name for metric in every_metric()]
    assert len(names) == len(set(names))


def test_no_label_is_without_bound() -> None:
    words = {
        "state": {state.value for state in PumpState},
        "outcome": {kind.value for kind in OutcomeKind},
    }
    series = 0
    for metric in every_metric():
        for sample in metric.samples:
            series += "flow_id" in sample.labels
            for label, value in sample.labels.items():
                assert label in ("flow_id", "le") or value in words[label], (metric.name, label)
    assert series * CAPACITY_MAX < 10_000


def test_a_lag_of_unknown_age_is_absent() -> None:
    metrics = WorkerMetrics()
    metrics.publish(WorkerSnapshot(flows=(replace(status("a"), lag_s=LAG_S_UNKNOWN),)))
    assert value_of(metrics, "router_flow_lag_seconds", flow_id="a") is None
