"""When to ask a cluster who leads the partitions that nobody leads: again and again, and the longer
they stay without a leader the less often. A flow of which one partition is gone for good costs its
cluster little then; the price is that the end of a long outage is found a little late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from kernel.backoff import ceiling_s

LONGEST_S: Final = 5.0
NO_LEADER: Final = (None, -1)
"""What aiokafka's cluster says of a partition that it does not know, and of one that is not led."""


def pause_s(failures: int, *, first_s: float) -> float:
    """Before a partition is tried again that could not be read so often in a row."""
    return ceiling_s(failures, first_s=first_s, longest_s=max(first_s, LONGEST_S))


class LeaderSearch:
    """Has `look` called after each pause, until nothing is missing."""

    def __init__(self, look: Callable[[], None], *, first_s: float) -> None:
        self._look = look
        self._first_s = first_s
        self._missing: frozenset[int] = frozenset()
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def for_leaders_of(self, missing: frozenset[int]) -> None:
        """These partitions have none. One that had a leader until now is looked for soon."""
        if not missing or not missing <= self._missing:
            self.end()
        self._missing = missing
        if missing and self._timer is None:
            wait_s = pause_s(self._looks + 1, first_s=self._first_s)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._look_now)

    def end(self) -> None:
        """Look no more."""
        self._missing = frozenset()
        self._looks = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_now(self) -> None:
        self._timer = None
        self._looks += 1
        self._look()
