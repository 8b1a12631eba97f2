"""One record of a source, handed to one flow.

Both are tuples with names, not dataclasses: one of each is made for every record, and a frozen
dataclass takes three times as long to make (1.4 against 0.45 µs, Python 3.11).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
"""In the record's order; a name may repeat."""

NO_TIME_MS: Final = -1
"""The time of a record that has none: its producer gave none, or its format is from before Kafka
0.10."""
RECORD_HELD_BYTES: Final = 512
"""What a record takes in memory beside its bytes, with its work and a lane of its own: measured."""
HEADER_HELD_BYTES: Final = 160
"""The same of each of its headers."""

NO_HEADERS: Final[Mapping[str, bytes]] = MappingProxyType({})


class Delivery(NamedTuple):
    """A record with the coordinates that identify it for ever: topic, partition, offset.

    `epoch` is the assignment under which it was received; it is no part of the identity.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    epoch: int
    headers: Headers = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of key, value and headers."""
        size_bytes = len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            size_bytes += len(name) + len(value or b"")  # a null value, which Kafka knows
        return size_bytes

    @property
    def held_bytes(self) -> int:
        """What it takes in memory until it is done: counts against the limits of bytes held."""
        return self.size_bytes + RECORD_HELD_BYTES + HEADER_HELD_BYTES * len(self.headers)

    def header(self, name: str) -> bytes | None:
        """The last value of a header, as Kafka's own clients read it; None: absent."""
        for have, value in reversed(self.headers):
            if have == name:
                return value
        return None


class Run(NamedTuple):
    """One attempt to invoke a target with a delivery.

    All attempts of one delivery share `request_id` (of a completion that is published: the id of
    the run that it tells of); `attempt` counts from 1. `hops` counts the
    algorithms that the data has passed through, this one included. `named` are the delivery's
    headers by name, of a repeated one the last.
    """

    delivery: Delivery
    request_id: str
    attempt: int
    hops: int
    traceparent: str
    named: Mapping[str, bytes]
