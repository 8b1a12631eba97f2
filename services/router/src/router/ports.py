"""What the router needs from the world. Only errors of `kernel.errors` leave these methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from catalog.records import FlowChange

from router.domain.beginning import Place
from router.domain.dead_letter import DeadLetter
from router.domain.delivery import Delivery, Run
from router.domain.lag import Lag
from router.domain.low_water import Mark
from router.domain.outcome import Outcome


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back and never stand still, whatever happens to the process; only
        differences mean anything."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s`; cancelling ends it at once."""
        ...


class Random(Protocol):
    """Where jitter comes from; `random.Random` is one."""

    def uniform(self, a: float, b: float) -> float:
        """A float between `a` and `b`."""
        ...


class AssignmentListener(Protocol):
    """What a source tells its reader about its partitions. All of them come and go together."""

    def on_assigned(
        self, marks: Mapping[int, Mark], *, epoch: int, unreadable: int = 0, expired: int = 0
    ) -> None:
        """These are ours under `epoch`; records of `p` begin at `marks[p].position` or higher.

        What a mark calls finished comes once more and need not be done again. Of `unreadable`
        partitions only the position could be read. `expired` records of a topic of ours were gone
        before they were read.
        """
        ...

    async def on_revoked(self) -> None:
        """The partitions go away as soon as this returns; until then `settle` works.

        The reader bounds it (drain bound). Told as well after a session has expired; then `settle`
        raises StaleAssignment. Harmless without an assignment.
        """
        ...


class RunTrace(Protocol):
    """One attempt that is traced."""

    @property
    def traceparent(self) -> str:
        """What goes along with the attempt, so that what is done below it belongs to it."""
        ...

    def ended(self, outcome: Outcome | None) -> None:
        """What it came to; None: it was broken off. Once."""
        ...


class DeliveryTrace(Protocol):
    """One delivery that is traced. All calls are instant and never raise."""

    def run(self, run: Run) -> RunTrace:
        """An attempt begins."""
        ...

    def done(self) -> None:
        """The outcome is durable. Once; a delivery that goes back to the broker has no end."""
        ...

    def settled(self, *, began: datetime, ended: datetime) -> None:
        """The source was told, between these times. After `done`."""
        ...


class Tracing(Protocol):
    """Where spans go. Instant, and may lose some: no delivery waits for its trace."""

    def receive(self, delivery: Delivery, *, flow_id: str) -> DeliveryTrace | None:
        """A record was received; None: nobody asked for its trace, and it costs nothing more.

        Its own `traceparent` decides if it has one, else chance.
        """
        ...

    async def close(self) -> None:
        """Send what is left, within a few seconds. Harmless twice."""
        ...


class FlowHistory(Protocol):
    """What a flow asked for and when, by the newest word of the registry."""

    async def reach(self, position: int) -> None:
        """Return once the registry's log is known up to `position`.

        Raises Unavailable when that takes too long.
        """
        ...

    def changes(self) -> Sequence[FlowChange]:
        """Oldest first; the same flow for ever, known up to the newest position reached."""
        ...


class Source(Protocol):
    """Records of one topic, for one flow; one reader.

    Order: offsets rise within a partition and an epoch. Repetition: after a new assignment records
    come again from the last settled position on. Concurrency: one `receive` at a time; everything
    else may be called meanwhile. Cancellation: cancelling `receive` loses no record: what it had
    taken is handed out by the next call. `close` may come early and twice; a closed source may be
    opened again. Start: a flow's start rule counts the first time only, and what it leads to is
    settled before a record is handed out; a partition that is added later is read from its
    beginning. A position whose records are gone, or that belongs to another topic of the same name,
    is never skipped; but in a topic of ours what expired is passed over, and counted.
    """

    async def open(self, listener: AssignmentListener) -> None:
        """Connect and join. Raises Unavailable (try again, with a sentence that says why),
        NotFound (no such topic), Unauthenticated, NotAllowed."""
        ...

    async def receive(self, *, wait_s: float, records_max: int) -> Sequence[Delivery]:
        """At most `records_max` records, empty after about `wait_s` without any.

        Never a record of a paused partition, nor one of a partition that `on_assigned` did not
        name yet. Raises Unavailable, PositionLost (it is never skipped), NotFound, NotAllowed,
        Unauthenticated.
        """
        ...

    async def settle(self, marks: Mapping[int, Mark], *, epoch: int) -> int:
        """Remember durably how far these partitions are done.

        Calls may overlap: whatever order they end in, the marks of the last one stand, and one that
        raises may leave those of its partitions that a later one did not name as they were.
        A source with too little room keeps the position and as much of the rest as fits, and gives
        the number of partitions of which something was left out. Raises
        StaleAssignment if `epoch` is not the current one or the broker says so; Unavailable when it
        may or may not have happened (repeating is harmless).
        """
        ...

    def pause(self, partitions: Iterable[int]) -> None:
        """Hand out nothing from these; `receive` goes on to keep the membership alive."""
        ...

    def resume(self, partitions: Iterable[int]) -> None:
        """Undo `pause`. Records that were held back are handed out first."""
        ...

    def holds(self, *, epoch: int) -> bool:
        """Is this epoch current, and was our membership confirmed within the session timeout?

        False for a process that was frozen and does not know yet what it lost.
        """
        ...

    async def lag(self, positions: Mapping[int, int]) -> Lag:
        """How many records wait from `positions` up to the newest, and since when.

        Cheap: asks the broker for what it does not tell anyway, never reads a record for it. Raises
        Unavailable.
        """
        ...

    async def close(self) -> None:
        """Leave. Settles nothing. Never raises for a broker that is away."""
        ...


class Positions(Protocol):
    """How far each group came, remembered by ourselves: a customer's cluster forgets an idle group.

    Used where the group has no commit, for nothing else. Any number of calls at the same time.
    """

    async def recall(self, group_id: str, topic: str) -> Mapping[int, Place]:
        """What was remembered last of each partition; empty if nothing was.

        Waits until everything that was durable at our start has been read. Raises Unavailable when
        that takes too long: nobody may take silence for a first start.
        """
        ...

    def remember(self, group_id: str, topic: str, places: Mapping[int, Place]) -> None:
        """Take note, and write it within seconds. What is finished above a position is left out."""
        ...

    async def flush(self) -> None:
        """Return once all that was noted is durable. Bounded; raises Unavailable."""
        ...


class Target(Protocol):
    """Where a flow delivers to. Any number of calls at the same time; keeps no order itself."""

    async def invoke(self, run: Run) -> Outcome:
        """Try once. Whatever the other side does is an Outcome, never an exception.

        `succeeded` means that the effect is durable. Repeating a run is harmless as far as the
        target honours its request id. Cancelling leaves it open whether the effect happened.
        The call bounds its own time.
        """
        ...

    async def close(self) -> None:
        """Give back what the target holds. Harmless twice."""
        ...


class DeadLetters(Protocol):
    """Where given-up deliveries are kept."""

    async def write(self, letter: DeadLetter) -> None:
        """Return once the letter is durable. Any number at the same time; may be repeated.

        Raises Unavailable; a reader may then find the letter or not. Raises TooLarge when no topic
        takes it, with a sentence that says what a person can do. The call bounds its own time.
        """
        ...

    async def close(self) -> None:
        """Give back what is held. Harmless twice."""
        ...
