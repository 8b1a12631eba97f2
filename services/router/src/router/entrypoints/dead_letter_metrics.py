"""Prometheus metrics of dead letters: of the index as far as a worker keeps it, of its tasks.

Each worker tells of the partitions that it reads and of the redrives and purges that it carries
out, so sums over the workers are of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from router.application.dead_letter_reader import ReaderStatus
from router.application.task_figures import TaskTotals
from router.domain.dead_letter_record import LetterState
from router.domain.outcome import OutcomeKind

TASK_STATES = ("waiting", "working")


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


def task_metrics(totals: TaskTotals) -> Iterable[Metric]:
    """Every label is there from the start."""
    tasks = GaugeMetricFamily(
        "router_dead_letter_tasks", "Redrives and purges of this worker.", labels=("state",)
    )
    for state in TASK_STATES:
        tasks.add_metric((state,), totals.tasks.get(state, 0))
    attempts = CounterMetricFamily(
        "router_redrive_attempts", "Attempts of redrives that ended.", labels=("outcome",)
    )
    for kind in OutcomeKind:
        attempts.add_metric((kind.value,), totals.attempts.get(kind, 0))
    in_flight = GaugeMetricFamily("router_redrive_in_flight", "Attempts of redrives that go on.")
    in_flight.add_metric((), totals.in_flight)
    letters = CounterMetricFamily(
        "router_dead_letters_settled",
        "Letters that redrives and purges have settled, by what became of them.",
        labels=("state",),
    )
    for end in LetterState:
        if end is not LetterState.OPEN:
            letters.add_metric((end.value,), totals.letters.get(end, 0))
    yield from (tasks, attempts, in_flight, letters)
