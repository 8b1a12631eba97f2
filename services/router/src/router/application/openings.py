"""How many sources of a worker are opened at the same time.

A worker that starts has up to 200 of them, and a cluster that comes back is met by all its flows at
once. So an opening waits for a turn of its connection, then for one of the worker. A cluster that
does not answer keeps the turns of its own connection; that of the worker goes on to the next one
after `SLOW_S`, so no number of dead clusters delays the others by more than that for each round.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

AT_ONCE_MAX: Final = 24
AT_ONCE_EACH_MAX: Final = 8
"""Of one connection: one opening takes some 10 ms of this process and as much of the cluster."""
SLOW_S: Final = 1.0
"""What opens at all opens faster than this."""


class Openings:
    """Turns. In the order of asking, first for the connection and then for the worker."""

    def __init__(self, *, at_once_max: int = AT_ONCE_MAX, each_max: int = AT_ONCE_EACH_MAX) -> None:
        self._each_max = each_max
        self._all = asyncio.Semaphore(at_once_max)
        self._each: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def turn(self, connection_id: str) -> AsyncIterator[None]:
        """Wait for a turn and have it until the block ends. Cancelling gives up the place."""
        async with self._turn_of(connection_id), self._turn_of_all():
            yield

    @property
    def connections(self) -> int:
        """Connections of which something is opened or waits."""
        return len(self._each)

    @asynccontextmanager
    async def _turn_of(self, connection_id: str) -> AsyncIterator[None]:
        """Turns of a connection that nobody uses or waits for are forgotten."""
        turns, users = self._each.get(connection_id, (asyncio.Semaphore(self._each_max), 0))
        self._each[connection_id] = turns, users + 1
        try:
            async with turns:
                yield
        finally:
            _, users = self._each[connection_id]
            if users > 1:
                self._each[connection_id] = turns, users - 1
            else:
                del self._each[connection_id]

    @asynccontextmanager
    async def _turn_of_all(self) -> AsyncIterator[None]:
        """Handed on when the block ends, or when it takes longer than what opens at all."""
        await self._all.acquire()
        held = True

        def hand_on() -> None:
            nonlocal held
            if held:
                held = False
                self._all.release()

        slow = asyncio.get_running_loop().call_later(SLOW_S, hand_on)
        try:
            yield
        finally:
            slow.cancel()
            hand_on()
