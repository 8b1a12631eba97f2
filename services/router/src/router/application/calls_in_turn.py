"""Calls of the worker's budget for work that comes one by one: whoever gets none waits in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from router.application.budget import WorkerBudget


class CallsInTurn:
    """The part of one user of the budget. Any number of waiters at the same time."""

    def __init__(self, budget: WorkerBudget) -> None:
        self._is_free = asyncio.Event()
        self._share = budget.share(self._is_free.set)
        self._waiters = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a call, and give it back at the end. Cancelling gives up the place."""
        await self._take()
        try:
            yield
        finally:
            self._share.free_call()

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """So many bytes are in memory meanwhile, and flows give way to them."""
        self._share.hold(self._share.bytes_held + size_bytes)
        try:
            yield
        finally:
            self._share.hold(self._share.bytes_held - size_bytes)

    async def _take(self) -> None:
        self._waiters += 1
        try:
            while not self._share.take_call():
                self._is_free.clear()
                await self._is_free.wait()
        finally:
            self._waiters -= 1
            if not self._waiters:
                self._share.want_no_more()
