"""A clock that stands still until a test moves it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

BEGINNING = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WAIT_MAX_S = 10.0
"""Real seconds after which a test that waits for something gives up."""


class ManualClock:
    """Sleepers wake when `advance` passes their time, in the order of their times."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._now_s)

    def monotonic_s(self) -> float:
        return self._now_s

    async def sleep(self, delay_s: float) -> None:
        wake = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now_s + delay_s, wake))
        await wake

    def waits(self) -> list[float]:
        """Seconds that each sleeper has still to wait."""
        return sorted(at - self._now_s for at, wake in self._sleepers if not wake.done())

    def advance(self, seconds: float) -> None:
        """Move on; who is woken runs when the test awaits next."""
        self._now_s += seconds
        due = sorted((s for s in self._sleepers if s[0] <= self._now_s), key=lambda s: s[0])
        self._sleepers = [s for s in self._sleepers if s[0] > self._now_s]
        for _, wake in due:
            if not wake.done():
                wake.set_result(None)

    async def run_until(self, condition: Callable[[], object], *, step_s: float = 0.05) -> None:
        """Move on in small steps until the condition holds. Raises TimeoutError."""
        async with asyncio.timeout(WAIT_MAX_S):
            while not condition():
                self.advance(step_s)
                await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks run until the condition holds; time stands still. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_MAX_S):
        while not condition():
            await asyncio.sleep(0)


async def let_others_run(turns: int = 50) -> None:
    """Give every task that can go on the chance to do so, so that `nothing happened` means it."""
    for _ in range(turns):
        await asyncio.sleep(0)
