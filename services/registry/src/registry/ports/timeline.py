"""The log's line of time: which position was the last at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from registry.ports.event_store import Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class SealAtTime:
    """The last seal with a time up to the one asked for, and the log's clock at the question.

    `seal` is None when nothing was sealed by then, and when the time is not before `clock`.
    """

    seal: Seal | None
    clock: datetime


class Timeline(Protocol):
    """Reads only; any number of calls at once; a cancelled call leaves nothing behind."""

    async def seal_at(self, time: datetime) -> SealAtTime:
        """The last seal with a time ≤ `time` (aware).

        The same answer for ever: a time later than the last seal is answered only once no append
        that is under way can get a seal up to it, and later ones get later times, also when the
        clock is set back. (An import brings its own times.) A time that neither the log's clock
        nor its last seal has passed yet has no seal.
        """
        ...

    async def seal_of(self, position: int) -> Seal | None:
        """The seal that holds the event at `position`; None beyond the head and below 1."""
        ...

    async def first_position(self) -> int:
        """Of the oldest event that is still in the log: 1 until something was archived.

        One more than the head's when the log holds no event.
        """
        ...
