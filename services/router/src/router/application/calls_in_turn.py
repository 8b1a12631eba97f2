"""Calls of the worker's budget for work that comes one by one: whoever gets none waits in turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from router.application.budget import WorkerBudget


class CallsInTurn:
    """The part of one user of the budget. Any number of waiters at the same time."""

    def __init__(self, budget: WorkerBudget) -> None:
        self._share = budget.share(self._hand_out)
        self._waiters: deque[asyncio.Future[None]] = deque()
        """Each is done when it has its call. While there are any the share waits too."""

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a call, and give it back at the end. Cancelling gives up the place."""
        await self._take()
        try:
            yield
        finally:
            self._give_back()

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """So many bytes are in memory meanwhile, and flows give way to them."""
        self._share.hold(self._share.bytes_held + size_bytes)
        try:
            yield
        finally:
            self._share.hold(self._share.bytes_held - size_bytes)

    async def _take(self) -> None:
        if not self._waiters and self._share.take_call():
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(turn)
            else:
                self._give_back()
            raise

    def _hand_out(self) -> None:
        """In the same step in which a call is free: a turn later a flow would have it again."""
        while self._next_waits() and self._share.take_call():
            self._waiters.popleft().set_result(None)

    def _give_back(self) -> None:
        """The next one of ours has the call, unless it is to be another user's."""
        if self._share.gives_way or not self._next_waits():
            self._share.free_call()
            return
        self._waiters.popleft().set_result(None)
        self._next_waits()

    def _leave(self, turn: asyncio.Future[None]) -> None:
        with suppress(ValueError):
            self._waiters.remove(turn)
        self._next_waits()

    def _next_waits(self) -> bool:
        """Does anybody wait? The first one is then there to take a call: it was not cancelled."""
        while self._waiters and self._waiters[0].cancelled():
            self._waiters.popleft()
        if not self._waiters:
            self._share.want_no_more()
        return bool(self._waiters)
