"""Who needs the same at the same time waits for one attempt, and all hear of its error at once.

Waiters that tried one after the other would each wait for the timeouts of all before them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from kernel.errors import Unavailable

T = TypeVar("T")


class SharedAttempts:
    """At most one attempt at a time of each name. An attempt bounds its own time."""

    def __init__(self) -> None:
        self._attempts: dict[str, asyncio.Task[Any]] = {}

    async def join(self, name: str, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the attempt under way comes to, or one that begins now; `begin` is always the same
        for a name. Cancelling the caller leaves the attempt alone. Raises its error, and
        Unavailable when it is ended by `close`.
        """
        attempt = self._attempts.get(name)
        if attempt is None:
            attempt = self._attempts[name] = asyncio.create_task(begin())
            attempt.add_done_callback(lambda ended: self._forget(name, ended))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            if attempt.cancelled():
                raise Unavailable("This service is stopping: try again.") from None
            raise

    async def close(self) -> None:
        """End the attempts. Harmless twice."""
        attempts = set(self._attempts.values())
        for attempt in attempts:
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts)

    def _forget(self, name: str, attempt: asyncio.Task[Any]) -> None:
        del self._attempts[name]
        if not attempt.cancelled():
            attempt.exception()  # whoever waited has it; they may all be gone
