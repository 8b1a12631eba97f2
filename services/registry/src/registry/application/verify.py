"""Recomputes the hash chain from the rows alone, page by page, from the beginning or from a seal.

Price: an entry in memory per stream. What it cannot see by itself is a log whose end was cut off or
that was rewritten whole: give it a head that was kept elsewhere (the registry logs its head, and
exports hold it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from kernel.errors import InvalidInput
from sealedlog.verification import BEGINNING, ChainBroken, ChainPoint, ChainWalker

from registry.application.sealed_batches import SealedEvents, seals_between
from registry.ports.event_store import EventStore

PROGRESS_EVENTS = 20_000
"""How often a verification says where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found so far. `problem` is empty while the log is intact, else it says where it
    breaks; `head` is the end of the last good batch, `events` and `seals` were recomputed."""

    after: ChainPoint
    head: ChainPoint
    events: int
    seals: int
    done: bool = False
    problem: str = ""

    @property
    def head_hash(self) -> bytes:
        """The chain's hash at `head`."""
        return self.head.hash


async def verify(
    store: EventStore, *, after: ChainPoint = BEGINNING, expected: ChainPoint | None = None
) -> Report:
    """What `verifying` ends with."""
    *_, last = [report async for report in verifying(store, after=after, expected=expected)]
    return last


async def verifying(
    store: EventStore, *, after: ChainPoint = BEGINNING, expected: ChainPoint | None = None
) -> AsyncIterator[Report]:
    """Check positions, stream versions, times and the chain, up to the head at the call.

    Reports every PROGRESS_EVENTS, and last with `done`. `after` is a point that is trusted;
    `expected` one that the log must still hold. Raises InvalidInput when they cannot be such.
    """
    walker = ChainWalker(after, expected=expected)
    problem, told = "", 0
    try:
        head = await store.head()
        await _check_beginning(store, after, head.position)
        walk = _walk(store, walker, after.position, head.position)
        async for _ in walk:
            if walker.events - told >= PROGRESS_EVENTS:
                told = walker.events
                yield _report(walker, after)
        walker.finish(ChainPoint(position=head.position, hash=head.hash))
        await _check_end(store, head.position)
    except ChainBroken as broken:
        problem = broken.message
    yield _report(walker, after, done=True, problem=problem)


async def _walk(store: EventStore, walker: ChainWalker, after: int, to: int) -> AsyncIterator[None]:
    """One step a batch. Pages of events are read across batches, so small batches cost no call."""
    events = SealedEvents(store, after)
    async for seal in seals_between(store, after, to):
        walker.begin(seal)
        async for event in events.up_to(seal.last_position):
            walker.event(event)
        walker.end()
        yield


async def _check_beginning(store: EventStore, after: ChainPoint, head_position: int) -> None:
    if after.position > head_position:
        raise _broken(
            f"the log ends at event {head_position}, before event {after.position}: "
            "its end was cut off",
            after.position,
        )
    if after.position == 0:
        return
    seals = await store.seals(after.position - 1, limit=1)
    if not seals or seals[0].last_position != after.position:
        raise InvalidInput(
            f"event {after.position} is not the end of a batch: verify after one that is"
        )
    if seals[0].hash != after.hash:
        raise _broken(
            f"the chain has another hash at {after.position} than the given one: "
            "the log up to there was rewritten",
            after.position,
        )


async def _check_end(store: EventStore, head_position: int) -> None:
    """Nothing may stand behind the head. What came meanwhile has moved the head."""
    behind_events = await store.read(head_position, limit=1, as_stored=True)
    behind_seals = await store.seals(head_position, limit=1)
    if (await store.head()).position > head_position:
        return
    if behind_events:
        raise _broken(f"event {behind_events[0].position} stands behind the head", head_position)
    if behind_seals:
        raise _broken("a seal stands behind the head", head_position)


def _report(
    walker: ChainWalker, after: ChainPoint, *, done: bool = False, problem: str = ""
) -> Report:
    return Report(
        after=after,
        head=walker.point,
        events=walker.events,
        seals=walker.seals,
        done=done,
        problem=problem,
    )


def _broken(message: str, position: int) -> ChainBroken:
    return ChainBroken(message, first_position=position, last_position=position)
