"""The machine's clocks."""

from __future__ import annotations

from datetime import UTC, datetime

from servicekit import clock


class SystemClock:
    """Port `Clock`."""

    def monotonic_s(self) -> float:
        """See `ports.Clock`."""
        return clock.monotonic_s()

    def now(self) -> datetime:
        """See `ports.Clock`."""
        return datetime.now(UTC)
