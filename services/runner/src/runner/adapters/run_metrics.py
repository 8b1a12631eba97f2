"""Prometheus metrics of runs and of what they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

DURATION_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3000,
)  # fmt: skip


class RunMetrics:
    """Port `RunObserver`. `gauges`: name after the prefix → help, where its number comes from."""

    def __init__(
        self, registry: CollectorRegistry, gauges: Mapping[str, tuple[str, Callable[[], float]]]
    ) -> None:
        self._runs = Counter(
            "eventflows_runner_runs", "Runs that ended, by outcome.", ["outcome"], registry=registry
        )
        self._durations = Histogram(
            "eventflows_runner_run_duration_seconds",
            "From the start of a run to its durable end, by outcome.",
            ["outcome"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self._in_flight = Gauge(
            "eventflows_runner_runs_in_flight", "Runs in progress.", registry=registry
        )
        self._repeats = Counter(
            "eventflows_runner_repeats",
            "Calls answered from the repeat window, without a run of their own.",
            ["how"],
            registry=registry,
        )
        self._refusals = Counter(
            "eventflows_runner_refusals",
            "Calls that ended with an error of the platform, by its class.",
            ["why"],
            registry=registry,
        )
        for name, (text, value) in gauges.items():
            gauge = Gauge(f"eventflows_runner_{name}", text, registry=registry)
            gauge.set_function(value)

    def started(self) -> None:
        """See `ports.RunObserver`."""
        self._in_flight.inc()

    def ended(self, outcome: str, duration_s: float) -> None:
        """See `ports.RunObserver`."""
        self._in_flight.dec()
        self._runs.labels(outcome).inc()
        self._durations.labels(outcome).observe(duration_s)

    def repeated(self, how: str) -> None:
        """See `ports.RunObserver`."""
        self._repeats.labels(how).inc()

    def refused(self, why: str) -> None:
        """See `ports.RunObserver`."""
        self._refusals.labels(why).inc()
