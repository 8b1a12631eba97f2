"""How much the log holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

COUNTED_MAX: Final = 1_000_000
"""Rows of a table that are counted one by one; what is in more of them is told from a sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSizes:
    """Counts are exact up to COUNTED_MAX rows of a table, estimates above; then what is very rare
    may be missing. Bytes are with indexes."""

    seals: int
    commands: int
    events_of_kind: Mapping[str, int]
    """By stored name."""
    streams_of_category: Mapping[str, int]
    bytes_of_table: Mapping[str, int]
    covered_to_position: int
    """The last position that a partition exists for."""


class LogSizing(Protocol):
    """Reads only; takes about a second at most, whatever the size of the log."""

    async def sizes(self) -> LogSizes:
        """What the log holds now. Raises Unavailable."""
        ...
