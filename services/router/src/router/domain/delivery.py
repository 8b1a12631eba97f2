"""One record of a source, handed to one flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
"""In the record's order; a name may repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A record with the coordinates that identify it for ever: topic, partition, offset.

    `epoch` is the assignment under which it was received; it is no part of the identity.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    epoch: int

    @property
    def size_bytes(self) -> int:
        """Bytes of key and value: what counts against the limit of bytes in flight."""
        return len(self.key or b"") + len(self.value or b"")

    def header(self, name: str) -> bytes | None:
        """The last value of a header, as Kafka's own clients read it; None: absent."""
        return next((value for have, value in reversed(self.headers) if have == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One attempt to invoke a target with a delivery.

    All attempts of one delivery share `request_id`; `attempt` counts from 1. `hops` counts the
    algorithms that the data has passed through, this one included.
    """

    delivery: Delivery
    request_id: str
    attempt: int
    hops: int
    traceparent: str
