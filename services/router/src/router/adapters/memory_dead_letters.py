"""Dead letters in memory."""

from __future__ import annotations

import asyncio

from kernel.errors import Unavailable

from router.domain.dead_letter import DeadLetter


class MemoryDeadLetters:
    """Keeps letters in a list, unless `away` names a reason why it cannot."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.away: str | None = None
        self.tries = 0
        self._changed = asyncio.Condition()

    async def write(self, letter: DeadLetter) -> None:
        self.tries += 1
        async with self._changed:
            if self.away is None:
                self.letters.append(letter)
            self._changed.notify_all()
        if self.away is not None:
            raise Unavailable(self.away)

    async def close(self) -> None:
        """Nothing is held."""

    async def until_tries(self, count: int) -> None:
        """Wait until `write` was called so many times."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.tries >= count)
