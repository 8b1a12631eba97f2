"""A limit with a second, lower mark, so that reaching it does not make a flow stutter."""

from __future__ import annotations


class Gate:
    """Shut from `limit` on, open again from half of it down."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._shut = False

    def is_shut(self, value: int) -> bool:
        """Take the newest value into account and say how the gate stands."""
        self._shut = value > self._limit // 2 if self._shut else value >= self._limit
        return self._shut
