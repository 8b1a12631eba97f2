"""The machine's clocks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from servicekit import clock


class SystemClock:
    """Clock of real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return clock.monotonic_s()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
