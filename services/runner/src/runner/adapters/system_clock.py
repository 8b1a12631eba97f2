"""The machine's clocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Port `Clock`."""

    def monotonic_s(self) -> float:
        """See `ports.Clock`."""
        return time.monotonic()

    def now(self) -> datetime:
        """See `ports.Clock`."""
        return datetime.now(UTC)
