"""The machine's clocks."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's CLOCK_MONOTONIC stands still while the machine is suspended, macOS's goes on."""


class SystemClock:
    """Clock of real time. `monotonic_s` goes on while the process is stopped by a signal and while
    the machine is suspended: leases are judged by it."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.clock_gettime(_CLOCK)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
