"""Rates of the last minute, from totals that somebody looks at about once a second.

What is counted are plain totals, so that counting a record costs one addition; the price is that a
rate is as fresh as the last look, and that of a gap without looks only the mean is known.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

WINDOW_S: Final = 60.0
SAMPLE_INTERVAL_S: Final = 1.0


class Totals(NamedTuple):
    """What was counted up to `at_s` (seconds of a monotonic clock)."""

    at_s: float
    settled: int
    attempts: int
    failed: int


class Rates:
    """The window. `look` is instant and may be called as often as one likes."""

    __slots__ = ("_samples",)

    def __init__(self, *, at_s: float) -> None:
        self._samples = deque([Totals(at_s, 0, 0, 0)], maxlen=round(WINDOW_S) + 2)

    def look(self, now: Totals) -> tuple[float, float]:
        """Settled deliveries per second, and the part of the attempts that failed (0 to 1)."""
        samples = self._samples
        while len(samples) > 1 and samples[1].at_s <= now.at_s - WINDOW_S:
            samples.popleft()
        begin = samples[0]
        if now.at_s - samples[-1].at_s >= SAMPLE_INTERVAL_S:
            samples.append(now)
        seconds = max(now.at_s - begin.at_s, SAMPLE_INTERVAL_S)
        attempts = now.attempts - begin.attempts
        failed = now.failed - begin.failed
        return (now.settled - begin.settled) / seconds, failed / attempts if attempts else 0.0
