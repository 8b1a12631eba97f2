"""What goes out as bytes is what building the messages would give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from catalog.codec import encode, stored_name
from catalog.events import Event
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from registry.entrypoints.recorded import encoded_events
from registry.ports.event_store import StoredEvent

from tests.golden.samples import SAMPLES

TIME = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
METADATA = events_pb2.Metadata(actor="service:operator", command_id=str(uuid4()), key_id="k")


def _stored(event: Event, number: int) -> StoredEvent:
    return StoredEvent(
        position=number + 1,
        stream_id=str(uuid4()),
        version=number + 1,
        name=stored_name(event),
        time=TIME + timedelta(seconds=number // 3),
        data=encode(event),
        metadata=METADATA.SerializeToString(deterministic=True),
    )


def _built(stored: StoredEvent) -> events_pb2.RecordedEvent:
    message = events_pb2.RecordedEvent(
        position=stored.position, stream_id=stored.stream_id, version=stored.version
    )
    message.time.FromDatetime(stored.time)
    message.metadata.MergeFromString(stored.metadata)
    message.event.MergeFromString(stored.data)
    return message


def test_the_bytes_of_every_kind_are_those_of_its_message() -> None:
    page = [_stored(event, number) for number, event in enumerate(SAMPLES)]
    built = pb.WatchBatch(events=[_built(stored) for stored in page])
    assert encoded_events(page) == built.SerializeToString()


def test_a_batch_before_its_events_is_one_message() -> None:
    page = [_stored(event, number) for number, event in enumerate(SAMPLES[:4])]
    positions = pb.WatchBatch(from_position=0, to_position=4, head_position=9)
    parts = [page[:1], page[1:3], [], page[3:]]
    received = pb.WatchBatch.FromString(
        positions.SerializeToString() + b"".join(encoded_events(part) for part in parts)
    )
    assert (received.from_position, received.to_position, received.head_position) == (0, 4, 9)
    assert list(received.events) == [_built(stored) for stored in page]


@pytest.mark.parametrize(
    ("encoded", "built"),
    [(pb.EncodedEvent, events_pb2.RecordedEvent), (pb.EncodedEvents, pb.WatchBatch)],
)
def test_each_field_has_the_number_of_its_twin(encoded: type, built: type) -> None:
    numbers = {field.name: field.number for field in built.DESCRIPTOR.fields}  # type: ignore[attr-defined]
    for field in encoded.DESCRIPTOR.fields:  # type: ignore[attr-defined]
        assert numbers[field.name] == field.number


def test_what_is_no_message_of_ours_still_goes_out_as_it_is() -> None:
    (stored,) = [_stored(SAMPLES[0], 0)._replace(data=b"\xfa\x01\x02hi", metadata=b"")]
    (received,) = pb.WatchBatch.FromString(encoded_events([stored])).events
    assert received.event.SerializeToString() == b"\xfa\x01\x02hi", "a kind of a newer build"
