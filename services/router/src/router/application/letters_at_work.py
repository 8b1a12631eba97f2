"""The letters of one task that are in work at the same time, those of a lane one after the other.

The price: whoever begins a letter waits for its lane, so a key that is busy holds up the letters
behind it, of other keys too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

AT_ONCE_MAX: Final = 16
BYTES_AT_ONCE_MAX: Final = 4 * 1024 * 1024
"""Of their values; one letter alone may have more."""


class LettersAtWork:
    """For one beginner at a time. A letter's work raises only what is a mistake of ours."""

    def __init__(self) -> None:
        self._lanes: dict[object, asyncio.Task[None]] = {}
        self._running: dict[asyncio.Task[None], int] = {}
        """With the bytes of its value; those that failed stay here until somebody is told."""

    async def begin(
        self,
        work: Callable[[], Coroutine[None, None, None]],
        *,
        lane: object | None,
        size_bytes: int,
        most: int = AT_ONCE_MAX,
    ) -> None:
        """Start a letter once its lane is free, fewer than `most` are in work, and their values and
        its own are within the limit. Raises what a letter's work raised."""
        before = self._lanes.get(lane) if lane is not None else None
        if before is not None:
            await asyncio.wait({before})
        while not self._has_room(size_bytes, most):
            await asyncio.wait(self._working(), return_when=asyncio.FIRST_COMPLETED)
        self._raise_failures()
        task = asyncio.create_task(work())
        self._running[task] = size_bytes
        if lane is not None:
            self._lanes[lane] = task
        task.add_done_callback(lambda done: self._ended(done, lane))

    async def all_ended(self) -> None:
        """Wait for those in work. Raises what a letter's work raised."""
        if self._running:
            await asyncio.wait(self._running)
        self._raise_failures()

    async def drain(self, bound_s: float) -> None:
        """Wait for those in work, at most so long, and break off the others. Never raises for what
        they raise."""
        if self._running:
            await asyncio.wait(self._running, timeout=bound_s)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _working(self) -> list[asyncio.Task[None]]:
        return [one for one in self._running if not one.done()]

    def _has_room(self, size_bytes: int, most: int) -> bool:
        working = self._working()
        held_bytes = sum(self._running[one] for one in working)
        fits = held_bytes + size_bytes <= BYTES_AT_ONCE_MAX
        return not working or (len(working) < min(most, AT_ONCE_MAX) and fits)

    def _ended(self, task: asyncio.Task[None], lane: object | None) -> None:
        if lane is not None and self._lanes.get(lane) is task:
            del self._lanes[lane]
        if task.cancelled() or task.exception() is None:
            self._running.pop(task, None)

    def _raise_failures(self) -> None:
        for task in self._running:
            if task.done():
                task.result()
