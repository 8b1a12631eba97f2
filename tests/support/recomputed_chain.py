"""The hash chain as docs/events.md defines it, written from that page alone: nothing of the
product's own sealing is used, so that the two can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from registry.ports.event_store import EventStore, Seal, StoredEvent

PAGE = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def assert_sound(store: EventStore) -> Sequence[StoredEvent]:
    """Positions dense, versions contiguous, seal times increasing, the chain as recomputed.

    Returns the whole log.
    """
    events = await _everything(store)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    versions: dict[str, int] = {}
    for event in events:
        assert event.version == versions.get(event.stream_id, 0) + 1, event
        versions[event.stream_id] = event.version
    seals = await _all_seals(store)
    assert [seal.first_position for seal in seals] == [
        1, *(seal.last_position + 1 for seal in seals[:-1])
    ][: len(seals)]  # fmt: skip
    assert all(one.time < two.time for one, two in pairwise(seals))
    hash_before = bytes(32)
    for seal in seals:
        sealed = events[seal.first_position - 1 : seal.last_position]
        assert {event.time for event in sealed} == {seal.time}
        hash_before = _link(hash_before, seal, sealed)
        assert seal.hash == hash_before, f"the seal that ends at {seal.last_position}"
    head = await store.head()
    assert (head.position, head.hash) == (len(events), hash_before)
    return events


def _link(hash_before: bytes, seal: Seal, sealed: Sequence[StoredEvent]) -> bytes:
    content = hash_before + _int8(seal.first_position) + _int8(seal.last_position)
    content += _int8(_microseconds(seal.time)) + b"".join(map(_digest, sealed))
    return hashlib.sha256(content).digest()


def _digest(event: StoredEvent) -> bytes:
    content = _int8(event.position) + UUID(event.stream_id).bytes
    content += event.version.to_bytes(4, "big") + _int8(_microseconds(event.time))
    for part in (event.name.encode(), event.data, event.metadata):
        content += len(part).to_bytes(4, "big") + part
    return hashlib.sha256(content).digest()


def _int8(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


async def _everything(store: EventStore) -> Sequence[StoredEvent]:
    events: list[StoredEvent] = []
    while page := await store.read(len(events), limit=PAGE):
        events += page
    return events


async def _all_seals(store: EventStore) -> Sequence[Seal]:
    seals: list[Seal] = []
    while page := await store.seals(seals[-1].last_position if seals else 0, limit=PAGE):
        seals += page
    return seals
