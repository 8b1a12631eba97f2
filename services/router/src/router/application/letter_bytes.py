"""What the letters in work of all dead letter tasks of a worker hold together.

A letter may wait for its next attempt for hours, and so does what it holds. The price: a task whose
next letter finds no room waits for those of others; so that none waits for a small one, each task
has one of those beside the limit.
"""

from __future__ import annotations

import asyncio
from typing import Final

MIB: Final = 1024 * 1024
WORKER_BYTES_MAX: Final = 128 * MIB
"""Of the values, a quarter of what the worker's flows may hold."""
FIRST_BYTES_MAX: Final = MIB
"""A letter up to this size always finds room if its task has no other one in work."""


class LetterBytes:
    """For one event loop. Whoever takes bytes gives them back."""

    def __init__(self) -> None:
        self.held = 0
        self._freed = asyncio.Event()

    def have_room(self, size_bytes: int, *, is_first: bool) -> bool:
        """May a letter of this size begin now? `is_first`: its task has no other one in work."""
        if size_bytes <= (FIRST_BYTES_MAX if is_first else 0):
            return True
        return not self.held or self.held + size_bytes <= WORKER_BYTES_MAX

    def take(self, size_bytes: int) -> None:
        """A letter began."""
        self.held += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """It ended."""
        self.held -= size_bytes
        self._freed.set()
        self._freed = asyncio.Event()

    async def freed(self) -> None:
        """Wait until some are given back."""
        await self._freed.wait()
