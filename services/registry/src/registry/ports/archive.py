"""The log's upkeep by operators: its partitions, its archive, importing into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sealedlog.verification import ChainPoint

from registry.ports.event_store import Seal, StoredEvent

IMPORT_EVENTS_MAX = 5_000
"""In one step of an import, unless one batch has more."""
STATES_PER_CALL_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Where the log ends, and up to where partitions exist for it."""

    head_position: int
    covered_to: int
    partition_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A stretch of positions that is stored apart; both ends belong to it."""

    first_position: int
    last_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedPartition:
    """A partition whose events are in a file.

    The file goes up to `sealed`, the end of the last batch that begins in the partition, and has
    this SHA-256. Not `dropped`: its table still stands apart.
    """

    partition: Partition
    sealed: ChainPoint
    file_sha256: bytes
    dropped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """What a stream had come to after `version` events, which are archived. `format` names how
    `state` is encoded."""

    stream_id: str
    version: int
    format: str
    state: bytes


class LogParts(Protocol):
    """What every registry process may know of the log's parts. Reads only."""

    async def room(self) -> Room:
        """Up to where the log may grow."""
        ...

    async def archived(self) -> ArchivedPartition | None:
        """The newest archived partition; None when nothing was archived."""
        ...

    async def state_of(self, stream_id: str) -> StreamState | None:
        """What was kept of a stream when events of it were archived."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportStep:
    """Whole batches that follow `after`, and what they leave of the unique names they touch."""

    after: ChainPoint
    batches: Sequence[tuple[Seal, Sequence[StoredEvent]]]
    claims: Mapping[str, str]
    """Name → stream that has it from here on."""
    released: frozenset[str]
    """Names that somebody had before and gives back, also those that are in `claims` again."""


class LogArchive(Protocol):
    """What operators do with the log as a whole. Each call is done as a whole or not at all.

    Raises StateForbids, with the reason, when it would break the log's rules. It has no adapter in
    memory, unlike other ports: its promises are those of tables and transactions, and nobody would
    run a second telling of the SQL; its tests are on PostgreSQL.
    """

    async def import_batches(self, step: ImportStep) -> None:
        """Append them as they are. StateForbids when the log is not at `after`, or when anything
        of them is not what was sealed; InvalidInput when a name is taken."""
        ...

    async def partitions(self) -> Sequence[Partition]:
        """Those that the log has now, oldest first."""
        ...

    async def archived_partitions(self) -> Sequence[ArchivedPartition]:
        """Those that it had, oldest first."""
        ...

    async def keep_states(self, states: Sequence[StreamState]) -> None:
        """Keep what streams came to; at most STATES_PER_CALL_MAX. Harmless twice."""
        ...

    async def detach(self, partition: Partition, *, sealed: ChainPoint, file_sha256: bytes) -> None:
        """Take the oldest partition out of the log. StateForbids when it is not the oldest, does
        not lie below the second newest snapshot, or states of its streams are not kept."""
        ...

    async def drop(self, partition: Partition, *, file_sha256: bytes) -> None:
        """Drop the table of a detached partition for good."""
        ...
