"""Checks an export record by record: form, order, chain, trailer. Holds one record at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput

from sealedlog import sealing
from sealedlog.export_records import FORMAT, RECORD_BYTES_MAX, Manifest, Tally, ends_batch
from sealedlog.rows import Event, Seal
from sealedlog.verification import HASH_BYTES, ChainPoint, ChainWalker

NAME_LENGTH_MAX: Final = 200
FIELD_LENGTH_MAX: Final = 64
RECIPIENT_LENGTH_MAX: Final = 200
BATCH_EVENTS_MAX: Final = 256 * 100
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""The log appends at most 256 commands of 100 events, and 4 MiB, at once: a reader that holds a
batch in memory is not made to hold more by a file that somebody forged."""
INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1


class MalformedExport(InvalidInput):
    """Not an export, or one that was damaged or cut short. Nothing of it may be used."""


class ExportCheck:
    """Takes the records in their order; raises MalformedExport or ChainBroken at the first fault.

    `manifest` is there once the trailer was right: only then is the export as it was written.
    """

    def __init__(self, *, expected: ChainPoint | None = None) -> None:
        """`expected` is a head that was kept elsewhere."""
        self.manifest: Manifest | None = None
        self._expected = expected
        self._tally = Tally()
        self._header: pb.ExportHeader | None = None
        self._walker: ChainWalker | None = None
        self._after: ChainPoint | None = None
        self._open: pb.SealedBatch | None = None
        self._batch_bytes = 0
        self._secret_ids: set[str] = set()

    @property
    def point(self) -> ChainPoint | None:
        """The end of the last good batch; None before the header."""
        return self._walker.point if self._walker else None

    def take(self, record: pb.ExportRecord) -> None:
        """The next record."""
        kind = record.WhichOneof("record")
        if self.manifest is not None:
            raise MalformedExport("the export goes on after its trailer: export again")
        if record.ByteSize() > RECORD_BYTES_MAX:
            raise MalformedExport(f"a record has more than {RECORD_BYTES_MAX} bytes: export again")
        if (kind == "header") != (self._header is None):
            raise MalformedExport("an export has one header, at its beginning: export again")
        if kind != "batch" and self._open is not None:
            raise MalformedExport(
                f"the export leaves events {self._open.first_position} to "
                f"{self._open.last_position} incomplete: export again"
            )
        match kind:
            case "header":
                self._begin(record.header)
            case "batch":
                self._batch(record.batch)
            case "secret":
                self._secret(record.secret)
            case "trailer":
                self._end(record.trailer)
            case _:
                raise MalformedExport(
                    "the export has a record of an unknown kind: use a newer build, or export again"
                )
        self._tally.add(record)

    def finish(self) -> Manifest:
        """No more records come."""
        if self._header is None:
            raise MalformedExport("this is not an export of the log: it has no header")
        if self.manifest is None:
            at = self.point.position if self.point else 0
            raise MalformedExport(
                f"the export has no trailer: it was cut short after event {at}, export again"
            )
        return self.manifest

    def _begin(self, header: pb.ExportHeader) -> None:
        if header.format != FORMAT:
            raise MalformedExport(
                f"this is not an export that this build can read: its format is not {FORMAT}"
            )
        recipient = header.recipient
        if len(recipient) > RECIPIENT_LENGTH_MAX or not recipient.isprintable():
            raise MalformedExport("the export's recipient is no name: export again")
        try:
            header.exported_at.ToDatetime(UTC)
        except (ValueError, OverflowError) as error:
            raise MalformedExport("the export has a date beyond all dates: export again") from error
        self._after = ChainPoint(position=header.after_position, hash=header.after_hash)
        self._walker = ChainWalker(self._after, expected=self._expected)
        self._header = header

    def _batch(self, batch: pb.SealedBatch) -> None:
        assert self._walker is not None  # the header came
        if self._tally.secrets:
            raise MalformedExport("a batch comes after the secrets: export again")
        if self._open is None:
            self._walker.begin(seal_of(batch))
            self._batch_bytes = 0
            expected_first = batch.first_position
        else:
            if not _same_seal(batch, self._open):
                raise MalformedExport(
                    f"events {self._open.first_position} to {self._open.last_position} are not "
                    "complete before the next batch: export again"
                )
            expected_first = self._open.first_event + len(self._open.events)
        if batch.first_event != expected_first or not batch.events:
            raise MalformedExport(
                f"event {expected_first} is missing from events {batch.first_position} to "
                f"{batch.last_position}: export again"
            )
        self._batch_bytes += batch.ByteSize()
        if (
            batch.last_position - batch.first_position >= BATCH_EVENTS_MAX
            or self._batch_bytes > BATCH_BYTES_MAX
        ):
            raise MalformedExport(
                f"events {batch.first_position} to {batch.last_position} are more than a batch "
                "has: this export was not made by a registry"
            )
        for event in events_of(batch):
            self._walker.event(event)
        self._open = None if ends_batch(batch) else batch
        if self._open is None:
            self._walker.end()

    def _secret(self, secret: pb.ExportedSecret) -> None:
        assert self._header is not None
        if not self._header.recipient:
            raise MalformedExport("the export has secrets for nobody: export again")
        if (
            not _is_uuid(secret.secret_id)
            or not _is_uuid(secret.stream_id)
            or not 0 < len(secret.field) <= FIELD_LENGTH_MAX
            or not secret.sealed
            or secret.secret_id in self._secret_ids
        ):
            raise MalformedExport("the export has a secret that is none: export again")
        self._secret_ids.add(secret.secret_id)

    def _end(self, trailer: pb.ExportTrailer) -> None:
        assert self._header is not None
        assert self._walker is not None
        assert self._after is not None
        self._walker.finish(ChainPoint(position=trailer.last_position, hash=trailer.last_hash))
        counted = (self._tally.events, self._tally.batches, self._tally.secrets)
        if counted != (trailer.events, trailer.batches, trailer.secrets):
            raise MalformedExport("the export holds other counts than its trailer: export again")
        if trailer.sha256 != self._tally.sha256:
            raise MalformedExport(
                "the export has another SHA-256 than its trailer: it was altered, export again"
            )
        self.manifest = Manifest(
            after=self._after,
            last=self._walker.point,
            exported_at=self._header.exported_at.ToDatetime(UTC),
            recipient=self._header.recipient,
            events=trailer.events,
            batches=trailer.batches,
            secrets=trailer.secrets,
            sha256=trailer.sha256,
        )


def seal_of(batch: pb.SealedBatch) -> Seal:
    """The seal that the record repeats. Raises MalformedExport."""
    if len(batch.hash) != HASH_BYTES or batch.first_position < 1:
        raise MalformedExport("a batch has no seal: export again")
    return Seal(
        first_position=batch.first_position,
        last_position=batch.last_position,
        hash=batch.hash,
        time=_time(batch),
    )


def events_of(batch: pb.SealedBatch) -> Iterator[Event]:
    """The events in this record. Raises MalformedExport."""
    time = _time(batch)
    for position, event in enumerate(batch.events, start=batch.first_event):
        if position > INT64_MAX:
            raise MalformedExport("an event has a position beyond all: export again")
        if (
            not _is_uuid(event.stream_id)
            or not 0 < event.version <= INT32_MAX
            or not 0 < len(event.name) <= NAME_LENGTH_MAX
        ):
            raise MalformedExport(f"event {position} is not an event of the log: export again")
        yield Event(
            position=position,
            stream_id=event.stream_id,
            version=event.version,
            name=event.name,
            time=time,
            data=event.data,
            metadata=event.metadata,
        )


def _time(batch: pb.SealedBatch) -> datetime:
    try:
        return sealing.moment(batch.time_us)
    except OverflowError as error:
        raise MalformedExport(
            f"events {batch.first_position} to {batch.last_position} have a time beyond all dates: "
            "export again"
        ) from error


def _same_seal(batch: pb.SealedBatch, other: pb.SealedBatch) -> bool:
    return (
        batch.first_position == other.first_position
        and batch.last_position == other.last_position
        and batch.hash == other.hash
        and batch.time_us == other.time_us
    )


def _is_uuid(text: str) -> bool:
    """In the one form that the log writes, so that no two texts mean one stream."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
