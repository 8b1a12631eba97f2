"""How long the runs of a worker took, as a histogram: two additions and a search for each."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)
"""Upper ends of the buckets; the last bucket takes what is longer."""


class RunDurations:
    """Only ever added to. For one event loop; whoever reads elsewhere takes a `snapshot`."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, duration_s: float) -> None:
        """A run ended after so long, however it ended."""
        self._counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self._sum_s += duration_s

    def snapshot(self) -> tuple[tuple[int, ...], float]:
        """Runs of each bucket, and the sum of all durations in seconds."""
        return tuple(self._counts), self._sum_s
