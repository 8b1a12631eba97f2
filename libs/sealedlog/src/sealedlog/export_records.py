"""The records of an export: built in order, framed, and counted for the trailer.

Some records are one message of `ExportLog`; with its length before it each is one piece of a file:
so what came over the wire is written down as it is, and read again in the same way.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.proto import serialize_length_prefixed

from sealedlog import sealing
from sealedlog.sealing import Sealed
from sealedlog.verification import ChainPoint, SealRow

FORMAT: Final = "eventflows.log.v1"
RECORD_BYTES_MAX: Final = 4 * 1024 * 1024 - 64 * 1024
"""Of one record, below the largest gRPC message (4 MiB): one event has at most 512 KiB."""
RECORD_BYTES_FULL: Final = 1024 * 1024
"""A batch goes on in another record once this much of it is in one."""
EVENT_OVERHEAD_BYTES: Final = 64
PART_BYTES_FULL: Final = 256 * 1024
"""Of the records that go in one message: a call a record costs more than all else (measured)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an export holds: the trailer, and the header's part of it."""

    after: ChainPoint
    last: ChainPoint
    exported_at: datetime
    recipient: str
    events: int
    batches: int
    secrets: int
    sha256: bytes


class Tally:
    """Counts and hashes framed records, so that a trailer can be made or compared."""

    def __init__(self) -> None:
        self.events = 0
        self.batches = 0
        self.secrets = 0
        self._sha256 = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """Of every byte so far."""
        return self._sha256.digest()

    def add(self, record: pb.ExportRecord) -> bytes:
        """The record as bytes of the file."""
        frame = framed(record)
        self._sha256.update(frame)
        match record.WhichOneof("record"):
            case "batch":
                self.events += len(record.batch.events)
                # A batch may take several records; the last of them ends it.
                self.batches += ends_batch(record.batch)
            case "secret":
                self.secrets += 1
        return frame


class ExportBuilder:
    """Makes the records of one export: `header`, then `batch`es, then `secret`s, then `trailer`."""

    def __init__(self) -> None:
        self.tally = Tally()

    def header(
        self, after: ChainPoint, *, exported_at: datetime, recipient: str = ""
    ) -> pb.ExportRecord:
        """The first record."""
        header = pb.ExportHeader(
            format=FORMAT,
            after_position=after.position,
            after_hash=after.hash,
            recipient=recipient,
        )
        header.exported_at.FromDatetime(exported_at)
        return self.passed(pb.ExportRecord(header=header))

    def batch(self, seal: SealRow, events: Sequence[Sealed]) -> Iterator[pb.ExportRecord]:
        """One batch, in as many records as it needs; the last of them ends with its last event."""
        for first, some in _portions(events):
            record = pb.ExportRecord(
                batch=pb.SealedBatch(
                    first_position=seal.first_position,
                    last_position=seal.last_position,
                    hash=seal.hash,
                    time_us=sealing.microseconds(seal.time),
                    first_event=first,
                    events=[
                        pb.StoredEvent(
                            stream_id=event.stream_id,
                            version=event.version,
                            name=event.name,
                            data=event.data,
                            metadata=event.metadata,
                        )
                        for event in some
                    ],
                )
            )
            yield self.passed(record)

    def secret(self, secret: pb.ExportedSecret) -> pb.ExportRecord:
        """A sealed secret."""
        return self.passed(pb.ExportRecord(secret=secret))

    def trailer(self, last: ChainPoint) -> pb.ExportRecord:
        """The last record: what came before it."""
        return pb.ExportRecord(
            trailer=pb.ExportTrailer(
                last_position=last.position,
                last_hash=last.hash,
                events=self.tally.events,
                batches=self.tally.batches,
                secrets=self.tally.secrets,
                sha256=self.tally.sha256,
            )
        )

    def passed(self, record: pb.ExportRecord) -> pb.ExportRecord:
        """A record that goes into this export as it is."""
        self.tally.add(record)
        return record


class PartBuilder:
    """Gathers records to messages of at most PART_BYTES_FULL, or of one record that is larger."""

    def __init__(self) -> None:
        self._part = pb.ExportPart()
        self._bytes = 0

    def add(self, record: pb.ExportRecord) -> pb.ExportPart | None:
        """The message that is full without this record."""
        size_bytes = record.ByteSize()
        full = self.rest() if self._bytes + size_bytes > PART_BYTES_FULL else None
        self._part.records.append(record)
        self._bytes += size_bytes
        return full

    def rest(self) -> pb.ExportPart | None:
        """The message of what was added since the last one; None when there is nothing."""
        part, self._part, self._bytes = self._part, pb.ExportPart(), 0
        return part if part.records else None


def parts_of(records: Iterable[pb.ExportRecord]) -> Iterator[pb.ExportPart]:
    """The records as the messages of `ImportLog`."""
    builder = PartBuilder()
    for record in records:
        if (part := builder.add(record)) is not None:
            yield part
    if (part := builder.rest()) is not None:
        yield part


def framed(record: pb.ExportRecord) -> bytes:
    """The record with its length before it, as protobuf's delimited files have it."""
    frame = io.BytesIO()
    serialize_length_prefixed(record, frame)
    return frame.getvalue()


def ends_batch(batch: pb.SealedBatch) -> bool:
    """Does this record hold the last event of its batch?"""
    return batch.first_event + len(batch.events) - 1 == batch.last_position


def _portions(events: Sequence[Sealed]) -> Iterator[tuple[int, Sequence[Sealed]]]:
    """Slices of a batch, each with the position of its first event."""
    begin, size_bytes = 0, 0
    for number, event in enumerate(events):
        size_bytes += len(event.data) + len(event.metadata) + len(event.name) + EVENT_OVERHEAD_BYTES
        if size_bytes >= RECORD_BYTES_FULL or number == len(events) - 1:
            yield events[begin].position, events[begin : number + 1]
            begin, size_bytes = number + 1, 0
