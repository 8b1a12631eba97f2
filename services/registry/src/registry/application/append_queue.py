"""What waits for the log, and what of it may go next.

Commands that share a stream, a name or a command id go one after the other, in the order of their
arrival; all others are free to go together. Each command knows how many it waits for, so adding,
taking and finishing cost the same however many wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from registry.ports.event_store import Append, Outcome


@dataclass(slots=True, eq=False)
class Waiting:
    """A command between its arrival and its outcome."""

    item: Append
    size_bytes: int
    outcome: asyncio.Future[Outcome]
    deadline_s: float
    ahead: int = 0
    """How many that share something with it must finish before it."""
    followers: list[Waiting] = field(default_factory=list)


class AppendQueue:
    """Commands in the order in which they may go. Not more than what its user lets in."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        """Of all that wait; what was taken does not count."""
        self._ready: deque[Waiting] = deque()
        self._last_with: dict[str, Waiting] = {}
        self._held = 0

    def __len__(self) -> int:
        """How many wait, held back by others or not; what was taken does not count."""
        return len(self._ready) + self._held

    def add(self, one: Waiting) -> None:
        """Let it wait behind all earlier ones that share something with it."""
        for key in _keys(one.item):
            earlier = self._last_with.get(key)
            if earlier is not None and earlier is not one:
                earlier.followers.append(one)
                one.ahead += 1
            self._last_with[key] = one
        self.waiting_bytes += one.size_bytes
        if one.ahead:
            self._held += 1
        else:
            self._ready.append(one)

    def take(self, *, commands_max: int, bytes_max: int) -> Sequence[Waiting]:
        """The oldest that may go now; the first always, more while they fit. `finish` them all."""
        batch: list[Waiting] = []
        size_bytes = 0
        while self._ready and len(batch) < commands_max:
            one = self._ready[0]
            if batch and size_bytes + one.size_bytes > bytes_max:
                break
            batch.append(self._ready.popleft())
            size_bytes += one.size_bytes
        self.waiting_bytes -= size_bytes
        return batch

    def finish(self, batch: Sequence[Waiting]) -> None:
        """These were taken and need nothing any more: who waited for them alone may go.

        Harmless twice.
        """
        for one in batch:
            for key in _keys(one.item):
                if self._last_with.get(key) is one:
                    del self._last_with[key]
            for follower in one.followers:
                follower.ahead -= 1
                if not follower.ahead:
                    self._held -= 1
                    self._ready.append(follower)
            one.followers.clear()

    def drain(self) -> Sequence[Waiting]:
        """Empty the queue: everything that waits, in an order in which it could have gone."""
        drained: list[Waiting] = []
        while batch := self.take(commands_max=len(self._ready), bytes_max=self.waiting_bytes):
            self.finish(batch)
            drained += batch
        return drained


def _keys(item: Append) -> Sequence[str]:
    """What no two commands may touch at the same time. Names of claims have no space in front."""
    return (
        f" command {item.command_id}",
        f" stream {item.stream_id}",
        *item.claims,
        *item.releases,
    )
