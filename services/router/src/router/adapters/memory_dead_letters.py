"""Dead letters in memory."""

from __future__ import annotations

import asyncio

from kernel.errors import TooLarge, Unavailable

from router.domain.dead_letter import DeadLetter


class MemoryDeadLetters:
    """Keeps letters in a list, unless `away` says why it cannot, or a value is too large."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.away: str | None = None
        self.value_bytes_max: int | None = None
        self.tries = 0
        self._changed = asyncio.Condition()

    async def write(self, letter: DeadLetter) -> None:
        self.tries += 1
        value_bytes, bytes_max = len(letter.delivery.value or b""), self.value_bytes_max
        is_too_large = bytes_max is not None and value_bytes > bytes_max
        async with self._changed:
            if self.away is None and not is_too_large:
                self.letters.append(letter)
            self._changed.notify_all()
        if self.away is not None:
            raise Unavailable(self.away)
        if is_too_large:
            raise TooLarge(f"the dead letter has {value_bytes} bytes: {bytes_max} are the most")

    async def close(self) -> None:
        """Nothing is held."""

    async def until_tries(self, count: int) -> None:
        """Wait until `write` was called so many times."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.tries >= count)
