"""The log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from kernel.errors import StateForbids

COMMANDS_PER_BATCH_MAX = 256
BATCH_BYTES_MAX = 4 * 1024 * 1024
EVENTS_PER_COMMAND_MAX = 100
COMMAND_BYTES_MAX = 512 * 1024
READ_EVENTS_MAX = 5_000
SELECTED_STREAMS_MAX = 100
REQUEST_HASH_BYTES = 32


class Status(StrEnum):
    """What became of one command of a batch."""

    STORED = "stored"
    REPLAYED = "replayed"
    COMMAND_REUSED = "command_reused"
    VERSION_CONFLICT = "version_conflict"
    CLAIM_CONFLICT = "claim_conflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to append: its versioned stored name and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """What one command wants stored, all of it or nothing. No events: only the command is noted."""

    command_id: str
    request_hash: bytes
    stream_id: str
    category: str
    expected_version: int
    """The stream's version that the events were decided on; 0: the stream must be new."""
    events: tuple[NewEvent, ...] = ()
    metadata: bytes = b""
    claims: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of events with their metadata."""
        return sum(len(event.data) + len(self.metadata) for event in self.events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an `Append`.

    STORED, REPLAYED: `version` and `position` after the command, `event_count` of its events;
    VERSION_CONFLICT: `version` is where the stream is; CLAIM_CONFLICT: `claim` is the taken name.
    """

    status: Status
    version: int = 0
    position: int = 0
    event_count: int = 0
    claim: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCommand:
    """A command that was carried out within the last 7 days."""

    request_hash: bytes
    version: int
    position: int
    event_count: int


class StoredEvent(NamedTuple):
    """A row of the log. `time` is aware UTC; `data` and `metadata` are protobuf.

    A tuple, since a log is replayed by the million: it is made in a fifth of a dataclass's time.
    """

    position: int
    stream_id: str
    version: int
    name: str
    time: datetime
    data: bytes
    metadata: bytes

    @property
    def category(self) -> str:
        """Of its stream: what its stored name begins with (`flow` of `flow.enabled.v1`)."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Events of streams of these categories, and events of these streams; never empty."""

    categories: frozenset[str] = frozenset()
    stream_ids: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.categories and not self.stream_ids:
            raise ValueError("a selection of nothing: name a category or a stream")
        if len(self.stream_ids) > SELECTED_STREAMS_MAX:
            raise ValueError(f"a selection names at most {SELECTED_STREAMS_MAX} streams")

    def holds(self, event: StoredEvent) -> bool:
        """Is the event of one of its streams?"""
        return event.category in self.categories or event.stream_id in self.stream_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedPage:
    """All selected events after the position asked for up to `covered_position`, in order."""

    covered_position: int
    events: Sequence[StoredEvent] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One link of the hash chain, over the events of one batch."""

    first_position: int
    last_position: int
    hash: bytes
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the log. `time` is that of the last seal (1970 for an empty log)."""

    position: int
    hash: bytes
    time: datetime


class Archived(StateForbids):
    """What was asked for was moved to archive files: the log begins after `position`."""

    def __init__(self, position: int) -> None:
        super().__init__(
            f"the events up to {position} were archived: begin after them, from a snapshot, "
            "and read what is before in the archive's files"
        )
        self.position = position


class EventStore(Protocol):
    """The log: positions dense from 1 in commit order, versions dense from 1 in each stream.

    A reader that has seen position n has seen everything before it, for ever.
    """

    async def append(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        """Store all commands that can be, in their order; the answers come in the same order.

        One refused command never disturbs its neighbours. When this returns, everything STORED is
        durable and visible. Within a batch command ids, stream ids and claims must all differ.
        Calls may overlap; which of them comes first in the log is open then, so what must keep its
        order goes in one call after the other. Cancelled or Unavailable: the batch was stored as a
        whole or not at all; sending it again is safe and tells. Raises InvalidInput when the store
        cannot take one of the commands (nothing is stored then).
        """
        ...

    async def read(
        self,
        after: int,
        *,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
        as_stored: bool = False,
    ) -> Sequence[StoredEvent]:
        """The events after a position, in order, without gaps; [] at the end of the log.

        At most `limit`, and at most `bytes_max` of data and metadata unless the first is larger.
        With `as_stored` nothing comes from this process's memory, and an altered log may have gaps.
        Raises Archived when the first of them is no longer in the log.
        """
        ...

    async def read_selected(
        self,
        after: int,
        *,
        to: int,
        selection: Selection,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
    ) -> SelectedPage:
        """The selected events after a position and up to `to`, which the log must have reached.

        At most `limit`, and at most `bytes_max` of data and metadata unless the first is larger.
        The page covers more than nothing when `after` < `to`, also when nothing in it is selected;
        it may cover less than asked: go on after `covered_position`. What is not selected is left
        out by the store, not read by this process. Raises Archived as `read` does, when the
        stretch is longer than a snapshot's distance from the head.
        """
        ...

    async def read_stream(
        self, stream_id: str, *, after_version: int = 0, limit: int = READ_EVENTS_MAX
    ) -> Sequence[StoredEvent]:
        """The events of one stream after a version, in order, at most `limit`.

        Raises Archived when the first of them is no longer in the log.
        """
        ...

    async def head(self) -> Head:
        """The end of the log now."""
        ...

    async def seals(self, after: int, *, limit: int) -> Sequence[Seal]:
        """The links of the chain that end after a position, in order."""
        ...

    async def find_command(self, command_id: str) -> StoredCommand | None:
        """What a command id of the last 7 days led to."""
        ...

    async def prune_commands(self, *, limit: int) -> int:
        """Forget at most `limit` commands older than 7 days; how many went."""
        ...

    def listen(self, *, poll_s: float) -> AsyncIterator[int]:
        """Positions of the head: at once, after appends by anybody, and at least every `poll_s`.

        Coalesced: a slow consumer gets the newest only. Never ends; raises Unavailable when the
        connection is lost. Close the iterator (`aclosing`).
        """
        ...
