"""An event loop whose time jumps: when everybody waits, to the end of the shortest wait.

So minutes of timeouts pass at once, and to the microsecond as they were meant.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from tests.support.manual_clock import BEGINNING

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: notes how long it was asked to."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for ever"
            self.now_s += max(0.0, timeout)
        return ready


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class JumpingClock:
    """Port `Clock`, by the running loop."""

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.monotonic_s())

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


def run_in_jumps(work: Coroutine[Any, Any, T]) -> T:
    """What the work gives, in a loop of its own that begins at 0."""
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        return runner.run(work)
