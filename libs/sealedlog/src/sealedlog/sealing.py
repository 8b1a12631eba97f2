"""The log's seal: how events are hashed into one chain, byte for byte as `sql/migrations` does it.

docs/events.md has the encoding for people who verify an export without us. Change nothing here:
every log in the world would read as broken.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

GENESIS = bytes(32)
"""The hash before the first seal."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Sealed(Protocol):
    """What of an event is sealed: all of it."""

    @property
    def position(self) -> int: ...
    @property
    def stream_id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def time(self) -> datetime: ...
    @property
    def data(self) -> bytes: ...
    @property
    def metadata(self) -> bytes: ...


def digest(event: Sealed) -> bytes:
    """SHA-256 of one event; every variable part has its length before it."""
    name = event.name.encode()
    head = struct.pack(
        ">q16siq",
        event.position,
        UUID(event.stream_id).bytes,
        event.version,
        microseconds(event.time),
    )
    parts = (
        part
        for field in (name, event.data, event.metadata)
        for part in (struct.pack(">i", len(field)), field)
    )
    return hashlib.sha256(head + b"".join(parts)).digest()


def link(
    previous: bytes, *, first: int, last: int, time: datetime, digests: Iterable[bytes]
) -> bytes:
    """The chain's hash after the batch of events `first`..`last`, sealed at `time`."""
    head = link_head(previous, first=first, last=last, time=time)
    return hashlib.sha256(head + b"".join(digests)).digest()


def link_head(previous: bytes, *, first: int, last: int, time: datetime) -> bytes:
    """What a link hashes before the digests of its events."""
    return previous + struct.pack(">qqq", first, last, microseconds(time))


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds_: int) -> datetime:
    """The aware UTC time of these microseconds since 1970. Raises OverflowError beyond a date."""
    return _EPOCH + microseconds_ * _MICROSECOND
