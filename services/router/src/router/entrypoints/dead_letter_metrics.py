"""Prometheus metrics of the index of dead letters, as far as this worker keeps it.

Each worker tells of the partitions that it reads, so sums over the workers are of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from router.application.dead_letter_reader import ReaderStatus


def dead_letter_metrics(status: ReaderStatus) -> Iterable[Metric]:
    """What is not known is left out."""
    unreadable = CounterMetricFamily(
        "router_dead_letters_unreadable", "Records of the internal topic that are no letters."
    )
    unreadable.add_metric((), status.unreadable_total)
    rebuilds = CounterMetricFamily(
        "router_dead_letter_index_rebuilds", "Partitions whose part of the index was made again."
    )
    rebuilds.add_metric((), status.rebuilds_total)
    yield from (unreadable, rebuilds)
    if status.lag_records >= 0:
        lag = GaugeMetricFamily(
            "router_dead_letter_index_lag_records", "Records that the index has not read yet."
        )
        lag.add_metric((), status.lag_records)
        yield lag
    if status.figures is None:
        return
    still_open = GaugeMetricFamily("router_dead_letters_open", "Letters that nobody settled.")
    still_open.add_metric((), status.figures.open_letters)
    by_flow = GaugeMetricFamily(
        "router_flow_dead_letters_open",
        "The same by flow, of those that have most on this worker.",
        labels=("flow_id",),
    )
    for flow_id, letters in status.figures.by_flow.items():
        by_flow.add_metric((flow_id,), letters)
    yield from (still_open, by_flow)
    if status.figures.oldest_open is not None:
        oldest = GaugeMetricFamily(
            "router_dead_letters_oldest_open_timestamp_seconds",
            "When the oldest open letter was given up.",
        )
        oldest.add_metric((), status.figures.oldest_open.timestamp())
        yield oldest
