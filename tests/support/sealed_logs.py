"""Sealed batches made by hand, and export files of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from eventflows.registry.v1 import registry_pb2 as pb
from sealedlog.export_file import ExportWriter
from sealedlog.export_records import ExportBuilder, Manifest
from sealedlog.rows import Event, Seal
from sealedlog.verification import BEGINNING, ChainPoint

START = datetime(2026, 1, 1, tzinfo=UTC)
Batch = tuple[Seal, list[Event]]


def batches_of(*sizes: int, streams: int = 3, data_bytes: int = 20) -> list[Batch]:
    """Batches of these sizes, sealed as docs/events.md says (recomputed here, not by our code)."""
    versions = dict.fromkeys(range(streams), 0)
    batches: list[Batch] = []
    position, hash_ = 0, bytes(32)
    for number, size in enumerate(sizes, start=1):
        time = START + timedelta(seconds=number)
        events = []
        for _ in range(size):
            position += 1
            stream = position % streams
            versions[stream] += 1
            events.append(
                Event(
                    position=position,
                    stream_id=str(UUID(int=stream + 1)),
                    version=versions[stream],
                    name="account.created.v1",
                    time=time,
                    data=bytes([position % 256]) * data_bytes,
                    metadata=b"who",
                )
            )
        hash_ = link_of(hash_, events)
        seal = Seal(
            first_position=events[0].position, last_position=position, hash=hash_, time=time
        )
        batches.append((seal, events))
    return batches


def link_of(previous: bytes, events: Sequence[Event]) -> bytes:
    """The chain's hash after these events, from the words of docs/events.md alone."""
    moment = _microseconds(events[0].time)
    text = previous + events[0].position.to_bytes(8) + events[-1].position.to_bytes(8) + moment
    for event in events:
        text += hashlib.sha256(
            event.position.to_bytes(8)
            + UUID(event.stream_id).bytes
            + event.version.to_bytes(4)
            + _microseconds(event.time)
            + b"".join(
                len(field).to_bytes(4) + field
                for field in (event.name.encode(), event.data, event.metadata)
            )
        ).digest()
    return hashlib.sha256(text).digest()


def records_of(
    batches: Iterable[Batch],
    *,
    after: ChainPoint = BEGINNING,
    recipient: str = "",
    secrets: Sequence[pb.ExportedSecret] = (),
) -> list[pb.ExportRecord]:
    """An export of these batches."""
    builder = ExportBuilder()
    records = [builder.header(after, exported_at=START, recipient=recipient)]
    last = after
    for seal, events in batches:
        records.extend(builder.batch(seal, events))
        last = ChainPoint(position=seal.last_position, hash=seal.hash)
    records.extend(builder.secret(secret) for secret in secrets)
    records.append(builder.trailer(last))
    return records


def write_export(path: Path, records: Iterable[pb.ExportRecord]) -> Manifest:
    """An export file of these records."""
    with ExportWriter(path) as writer:
        for record in records:
            writer.write(record)
        return writer.complete()


def changed(event: Event, **fields: object) -> Event:
    """The event with other fields."""
    return replace(event, **fields)  # type: ignore[arg-type]


def _microseconds(time: datetime) -> bytes:
    return int((time - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)).to_bytes(8)
