"""Recomputes the hash chain from the rows alone, page by page.

Price: an entry in memory per stream. What it cannot see is a log whose end was cut off or rewritten
whole: for that, compare the head with one that was kept elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sealedlog import sealing

from registry.ports.event_store import EventStore, Head, Seal, StoredEvent

SEALS_PER_PAGE_MAX = 1_000
EVENTS_PER_PAGE_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found. `problem` is empty when the log is intact, else it says where it breaks."""

    events: int
    seals: int
    head_hash: bytes
    problem: str = ""


async def verify(store: EventStore) -> Report:
    """Check positions, stream versions, times and the chain, up to the head at the call."""
    head = await store.head()
    check = _Check()
    async for seal in _seals(store, head):
        problem = check.seal_order(seal)
        async for event in _events(store, seal):
            problem = problem or check.event(event, seal)
        problem = problem or check.seal(seal)
        if problem:
            return check.report(problem)
    return check.report(check.head(head))


class _Check:
    """Walks along the log; each step returns a problem or nothing."""

    def __init__(self) -> None:
        self._position = 0
        self._seals = 0
        self._hash = sealing.GENESIS
        self._digests: list[bytes] = []
        self._versions: dict[str, int] = {}
        self._last: Seal | None = None

    def seal_order(self, seal: Seal) -> str:
        self._digests = []
        if seal.first_position != self._position + 1:
            return f"the seal of events {_range(seal)} does not follow event {self._position}"
        if self._last is not None and seal.time <= self._last.time:
            return f"the seal of events {_range(seal)} is not later than the one before it"
        return ""

    def event(self, event: StoredEvent, seal: Seal) -> str:
        if event.position != self._position + 1:
            return f"event {self._position + 1} is missing"
        version = self._versions.get(event.stream_id, 0) + 1
        if event.version != version:
            return (
                f"event {event.position} has version {event.version} of its stream, not {version}"
            )
        if event.time != seal.time:
            return f"event {event.position} has another time than its seal"
        self._position = event.position
        self._versions[event.stream_id] = version
        self._digests.append(sealing.digest(event))
        return ""

    def seal(self, seal: Seal) -> str:
        if self._position != seal.last_position:
            return f"event {self._position + 1} is missing"
        found = sealing.link(
            self._hash,
            first=seal.first_position,
            last=seal.last_position,
            time=seal.time,
            digests=self._digests,
        )
        if found != seal.hash:
            return f"events {_range(seal)} are not those that were sealed"
        self._hash, self._last, self._seals = found, seal, self._seals + 1
        return ""

    def head(self, head: Head) -> str:
        if head.position != self._position:
            return f"the head is at {head.position}, the last sealed event is {self._position}"
        if head.hash != self._hash:
            return "the head has another hash than the last seal"
        return ""

    def report(self, problem: str) -> Report:
        return Report(
            events=self._position, seals=self._seals, head_hash=self._hash, problem=problem
        )


async def _seals(store: EventStore, head: Head) -> AsyncIterator[Seal]:
    position = 0
    while position < head.position:
        page = await store.seals(position, limit=SEALS_PER_PAGE_MAX)
        for seal in page:
            if seal.last_position > head.position:
                return
            yield seal
        if not page:
            return
        position = page[-1].last_position


async def _events(store: EventStore, seal: Seal) -> AsyncIterator[StoredEvent]:
    position = seal.first_position - 1
    while position < seal.last_position:
        limit = min(EVENTS_PER_PAGE_MAX, seal.last_position - position)
        page: Sequence[StoredEvent] = await store.read(position, limit=limit)
        for event in page:
            if event.position > seal.last_position:
                return
            yield event
        if not page:
            return
        position = page[-1].position


def _range(seal: Seal) -> str:
    return f"{seal.first_position} to {seal.last_position}"
