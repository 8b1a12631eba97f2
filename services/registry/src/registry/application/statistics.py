"""What the log holds, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalog import snapshot

from registry.ports.event_store import EventStore, Head
from registry.ports.log_sizes import LogSizes, LogSizing
from registry.ports.snapshots import Snapshots
from registry.ports.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """`first_position` is that of the oldest event that is still in the log; `snapshot_positions`
    are those of this build's fold, ascending."""

    head: Head
    first_position: int
    sizes: LogSizes
    snapshot_positions: Sequence[int]


class LogStatistics:
    """Puts together what several ports know."""

    def __init__(
        self, *, store: EventStore, timeline: Timeline, snapshots: Snapshots, sizing: LogSizing
    ) -> None:
        self._store = store
        self._timeline = timeline
        self._snapshots = snapshots
        self._sizing = sizing

    async def now(self) -> Statistics:
        """Each part is of the moment at which it was asked for. Raises Unavailable."""
        return Statistics(
            head=await self._store.head(),
            first_position=await self._timeline.first_position(),
            sizes=await self._sizing.sizes(),
            snapshot_positions=await self._snapshots.positions(fold=snapshot.FOLD),
        )
