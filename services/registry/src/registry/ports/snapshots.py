"""Catalogs as bytes, kept beside the log: a cache, so losing one costs time and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from kernel.errors import InvalidInput

PART_BYTES_MAX: Final = 256 * 1024
OTHER_FOLDS_KEPT_FOR_DAYS: Final = 7
"""Time enough for an upgrade, in which two folds are in use, and for going back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A kept snapshot: the catalog at `position` as the fold of that name made it.

    `hash` is the chain's at `position`, which a seal ends at: it binds the snapshot to its log.
    """

    position: int
    fold: str
    hash: bytes
    parts: int
    size_bytes: int


class Snapshots(Protocol):
    """Whole snapshots only: none is ever seen half. Any number of processes may use it at once."""

    async def put(
        self, *, position: int, fold: str, seal_hash: bytes, parts: Sequence[bytes]
    ) -> bool:
        """Keep a snapshot, durably and as a whole; False when there is one of this key already.

        Cancelled or Unavailable: it is kept as a whole or not at all. Raises InvalidInput unless
        there are parts, each of 1 to PART_BYTES_MAX bytes, and StateForbids unless a seal of this
        log ends at `position` with `seal_hash`.
        """
        ...

    async def newest(self, *, fold: str, at_most: int | None = None) -> Snapshot | None:
        """The newest of a fold with a position up to `at_most`; one of another log is not seen."""
        ...

    def read(self, snapshot: Snapshot) -> AsyncIterator[bytes]:
        """Its parts, in order, one in memory at a time. Raises NotFound when it is gone meanwhile.

        Whether they are what was put is for `catalog.snapshot` to find out.
        """
        ...

    async def positions(self, *, fold: str) -> Sequence[int]:
        """Of all kept snapshots of a fold that belong to this log, ascending."""
        ...

    async def keep(self, *, fold: str, newest: int) -> int:
        """Forget all but the newest of a fold; how many went.

        When events were archived the oldest snapshot that can stand for them stays too. Those of
        other folds go OTHER_FOLDS_KEPT_FOR_DAYS after they were taken.
        """
        ...


def check_parts(parts: Sequence[bytes]) -> None:
    """Raise InvalidInput unless there are parts, each of 1 to PART_BYTES_MAX bytes."""
    if not parts or not all(0 < len(part) <= PART_BYTES_MAX for part in parts):
        raise InvalidInput(f"a snapshot has parts of 1 to {PART_BYTES_MAX} bytes: cut it anew")
