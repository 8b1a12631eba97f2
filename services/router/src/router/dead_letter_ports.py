"""What the dead letters' index needs from the world.

Only errors of `kernel.errors` leave these methods.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from router.control_ports import WorkerEntry
from router.domain.dead_letter_mark import Folded, OwnMark
from router.domain.dead_letter_query import LetterQuery, PageKey, SourceKey
from router.domain.dead_letter_record import Letter, LetterId, LetterState
from router.domain.dead_letter_task import TaskProgress
from router.domain.delivery import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPosition:
    """How far the index has read a partition.

    `last_ms` is the timestamp of the record before `next_offset`: by it a topic that was made anew
    is told from the one that was read.
    """

    next_offset: int
    last_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFigures:
    """Open letters of some partitions: in all, the oldest, and of the flows that have most."""

    open_letters: int
    oldest_open: datetime | None
    by_flow: Mapping[str, int]


class LetterFold(Protocol):
    """The writing half of the index: a fold of the internal topic, partition by partition."""

    async def prepare(self) -> None:
        """Make the tables if they are missing. Any number of workers may, at any time.

        Raises Unavailable.
        """
        ...

    async def positions(self) -> Mapping[int, ReadPosition]:
        """Of each partition that was ever read. Raises Unavailable."""
        ...

    async def fold(
        self, partition: int, folded: Folded, *, expected: ReadPosition | None, now: ReadPosition
    ) -> None:
        """Take letters, then marks and own marks, and the position with them: all or nothing.

        A letter or an own mark that is there stays as it is; a mark on a letter that is not open,
        or is not there (any more), changes nothing. Raises VersionConflict when the stored position
        is not `expected` (None: there is none), so that of two readers one is refused; Unavailable
        when it may or may not have happened.
        """
        ...

    async def forget(self, partition: int, *, expected: ReadPosition) -> None:
        """Drop what the partition brought, with its position. Raises as `fold`."""
        ...

    async def expire(self, partitions: Iterable[int], *, written_before: datetime) -> int:
        """Drop letters and own marks of these partitions that are older; how many there were.
        Bounded: when it dropped any, call again. Raises Unavailable."""
        ...


class LetterQueries(Protocol):
    """The reading half. Any number of calls at the same time; all raise Unavailable.

    What `fold` has taken is seen by the next call.
    """

    async def page(
        self, query: LetterQuery, *, below: PageKey | None, letters_max: int
    ) -> Sequence[Letter]:
        """Newest first by `page_key`, those below a key."""
        ...

    async def in_order(
        self, query: LetterQuery, *, above: SourceKey | None, letters_max: int
    ) -> Sequence[Letter]:
        """By `source_key`, rising, those above a key. Topics are ordered by their UTF-8 bytes."""
        ...

    async def find(self, letter_id: LetterId) -> Letter | None:
        """One letter; None: there is none."""
        ...

    async def count(self, query: LetterQuery) -> int:
        """How many there are."""
        ...

    async def tally(self, task_id: str) -> Mapping[LetterState, int]:
        """How many letters a task has brought to each state, also of a flow's own topic."""
        ...

    async def own_marks(
        self, flow_id: str, topic: str, letters: Sequence[Letter]
    ) -> Mapping[LetterId, OwnMark]:
        """What has become of these letters of a flow's own topic; the open ones are left out."""
        ...

    async def figures(self, partitions: Iterable[int], *, flows_max: int) -> LetterFigures:
        """What metrics tell of these partitions."""
        ...


class LetterFeed(Protocol):
    """The internal topic, read without a group by the index's reader. One reader.

    Order: offsets rise within a partition. Cancelling `receive` may lose what it had taken: open
    anew. `close` may come early and twice; a closed feed may be opened again.
    """

    async def open(self) -> Mapping[int, tuple[int, int]]:
        """Connect; first offset and end of every partition. Raises Unavailable, NotFound."""
        ...

    async def begin(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions and no others, each from its offset on."""
        ...

    async def receive(self, *, wait_s: float, records_max: int) -> Mapping[int, Sequence[Delivery]]:
        """Records by partition, none after about `wait_s`. Raises Unavailable, PositionLost."""
        ...

    async def ends(self) -> Mapping[int, int]:
        """The end of every partition that is read now. Raises Unavailable."""
        ...

    async def close(self) -> None:
        """Disconnect. Never raises for a broker that is away."""
        ...


class LetterTopic(Protocol):
    """A topic of dead letters, ours or a flow's own. Any number of calls at the same time; each
    bounds its own time. All raise Unavailable, NotFound, NotAllowed, Unauthenticated, and
    StateForbids for what no client of ours can read."""

    async def read(self, letter_id: LetterId) -> Delivery | None:
        """The record at these coordinates; None: it is gone, or was never there."""
        ...

    def backwards(self) -> AsyncGenerator[Sequence[Delivery], None]:
        """All records in batches, from the newest down as far as one connection allows: within a
        batch offsets rise, and each batch of a partition is older than the one before it. Ends at
        the beginning; whoever has enough leaves it."""
        ...

    def forwards(
        self, spans: Mapping[int, tuple[int, int]]
    ) -> AsyncGenerator[Sequence[Delivery], None]:
        """What there is of these spans (partition: first offset and end), in batches of one
        partition each: offsets rise from batch to batch. No batch is empty; whoever has enough
        leaves it, and then no other method waits for it."""
        ...

    async def spans(self) -> Mapping[int, tuple[int, int]]:
        """First offset and end of every partition."""
        ...

    async def close(self) -> None:
        """Disconnect. May come early or twice; the next call connects again."""
        ...


class LetterMarks(Protocol):
    """Writes marks into our internal topic. Any number of calls at the same time."""

    async def write(self, letter_id: LetterId, state: LetterState, *, task_id: str) -> None:
        """Return once the mark is durable. May be repeated. Raises Unavailable."""
        ...

    async def write_own(
        self, letter: Letter, state: LetterState, *, topic: str, task_id: str
    ) -> None:
        """The same for a letter in a flow's own topic."""
        ...


class TaskEnds(Protocol):
    """Tells the registry that nothing more is done for a task."""

    async def finish(self, task_id: str, *, succeeded: int, failed: int, problem: str) -> None:
        """Return once it is in the log, by this call or by an earlier one; a task that was
        cancelled meanwhile stays so. Raises Unavailable, TimedOut."""
        ...


class TaskPeers(Protocol):
    """Questions about tasks to other workers. Any number at the same time."""

    async def dead_letter_task(self, worker: WorkerEntry, task_id: str) -> TaskProgress:
        """What that worker itself does for a task. Raises NotFound if it does nothing, Unavailable,
        TimedOut after a short deadline."""
        ...
