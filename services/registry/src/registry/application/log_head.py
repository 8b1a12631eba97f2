"""Where the log ends, as far as this process knows, and the one wake-up that all readers share.

Readers keep a position each and read pages by it, so nothing is queued per reader; what is shared
is "there is more". One listening connection per process feeds it, and every append of our own.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from contextlib import aclosing, suppress

from kernel.backoff import delay_s
from kernel.errors import Unavailable

from registry.application.metrics import RegistryMetrics
from registry.ports.event_store import EventStore

POLL_S = 1.0
CONFIRMED_MAX_S = 3.0
"""Older knowledge of the head is no ground for a heartbeat: the log may be out of reach."""
BACKOFF_FIRST_S = 0.05
BACKOFF_LONGEST_S = 1.0

_log = logging.getLogger(__name__)


class LogHead:
    """The newest known position. Only grows."""

    def __init__(
        self, *, metrics: RegistryMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.position = 0
        self.closed = False
        self._metrics = metrics
        self._clock = clock
        self._confirmed_s = -math.inf
        self._changed = asyncio.Event()

    def advance(self, position: int) -> None:
        """The log reaches at least to `position`: its database has just said so."""
        self._confirmed_s = self._clock()
        if position > self.position:
            self.position = position
            self._metrics.head_position.set(position)
            self._wake()

    def is_confirmed(self) -> bool:
        """Has the log been heard of within CONFIRMED_MAX_S?"""
        return self._clock() - self._confirmed_s <= CONFIRMED_MAX_S

    async def beyond(self, position: int, *, timeout_s: float) -> bool:
        """Wait until the log goes on after `position`; False after `timeout_s` or when closed."""
        deadline_s = self._clock() + timeout_s
        while self.position <= position and not self.closed:
            left_s = deadline_s - self._clock()
            if left_s <= 0:
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
        return self.position > position

    def close(self) -> None:
        """Wake everybody for the last time."""
        self.closed = True
        self._wake()

    async def follow(self, store: EventStore) -> None:
        """Listen to the log for ever; after a loss, listen again."""
        failures = 0
        while True:
            try:
                async with aclosing(store.listen(poll_s=POLL_S)) as positions:  # type: ignore[type-var]
                    async for position in positions:
                        failures = 0
                        self.advance(position)
            except Unavailable as error:
                failures += 1
                _log.warning(
                    "not listening to the log", extra={"why": str(error), "failures": failures}
                )
            await asyncio.sleep(
                delay_s(
                    max(1, failures), first_s=BACKOFF_FIRST_S, longest_s=BACKOFF_LONGEST_S,
                    random=random.random,
                )
            )  # fmt: skip

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
