"""Events and states as CloudEvents: what the library reads back is what was meant."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from catalog import codec
from catalog.events import Event, Metadata, RecordedEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows_cli.relay import records
from eventflows_cli.relay.records import Record
from kernel.errors import StateForbids

from tests.golden.samples import SAMPLES

TIME = datetime(2026, 11, 24, 2, 3, 4, 567890, tzinfo=UTC)
STREAM = "11111111-2222-4333-8444-555555555555"


def recorded(position: int = 7) -> events_pb2.RecordedEvent:
    return codec.recorded_to_message(
        RecordedEvent(
            position=position,
            stream_id=STREAM,
            version=3,
            time=TIME,
            metadata=Metadata(
                actor="service:operator",
                command_id="c0ffee00-0000-4000-8000-000000000001",
                key_id="c0ffee00-0000-4000-8000-000000000002",
            ),
            event=SAMPLES[0],
        )
    )


def read_back(record: Record) -> dict[str, object]:
    assert record.value is not None
    message = KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)
    return dict(from_binary(message, JSONFormat()).get_attributes())


@pytest.mark.parametrize("event", SAMPLES, ids=codec.stored_name)
def test_every_kind_of_event_becomes_a_cloud_event_with_its_stored_name(
    event: Event,
) -> None:
    message = recorded()
    message.event.CopyFrom(codec.to_message(event))
    record = records.of_event(message, source="/acme")
    assert read_back(record)["type"] == f"eventflows.{codec.stored_name(event)}"
    assert record.value is not None
    inner = getattr(message.event, str(message.event.WhichOneof("kind")))
    assert set(json.loads(record.value)) == set(inner.DESCRIPTOR.fields_by_name)


def test_the_headers_tell_place_time_and_who() -> None:
    record = records.of_event(recorded(), source="/acme")
    found = read_back(record)
    assert record.key == STREAM.encode()
    assert found["id"] == "7"
    assert found["position"] == "7"
    assert found["streamversion"] == "3"
    assert found["source"] == "/acme"
    assert found["subject"] == STREAM
    assert found["time"] == TIME
    assert found["actor"] == "service:operator"
    assert found["keyid"] == "c0ffee00-0000-4000-8000-000000000002"
    assert "correlationid" not in found


def test_a_state_is_keyed_by_its_aggregate() -> None:
    state = catalog_pb2.Aggregate(flow=catalog_pb2.Flow(flow_id="f", created_position=7))
    record = records.of_state(recorded(), "f", state, source="/acme")
    found = read_back(record)
    assert record.key == b"f"
    assert found["type"] == "eventflows.flow.state.v1"
    assert found["id"] == "7/f"
    assert found["subject"] == "f"
    assert record.value is not None
    assert json.loads(record.value)["created_position"] == "7"


def test_what_is_gone_is_a_tombstone_with_its_position() -> None:
    record = records.of_state(recorded(), "f", None, source="/acme")
    assert (record.key, record.value) == (b"f", None)
    assert record.headers == ((records.POSITION_HEADER, b"7"),)


def test_an_event_of_a_newer_build_is_refused() -> None:
    message = recorded()
    message.event.Clear()
    with pytest.raises(StateForbids, match="event 7 is of a newer build"):
        records.of_event(message, source="/acme")


def test_a_record_belongs_to_its_event_whatever_else_is_in_it() -> None:
    """A later build may have more fields; another cluster's name says nothing of the log."""
    message = recorded()
    record = records.of_event(message, source="/another/name")
    assert records.is_of(message, key=record.key, headers=record.headers)
    assert not records.is_of(message, key=b"another stream", headers=record.headers)
    assert not records.is_of(message, key=None, headers=())


@pytest.mark.parametrize("header", records.IDENTITY_HEADERS)
def test_a_record_of_another_event_is_told_by_its_headers(header: str) -> None:
    message = recorded()
    record = records.of_event(message, source="/acme")
    other = dict(record.headers) | {header: b"another"}
    assert not records.is_of(message, key=record.key, headers=other.items())


def test_a_record_knows_its_size() -> None:
    record = Record(key=b"key", value=b"value", headers=(("name", b"content"),))
    assert record.size_bytes == 3 + 5 + 4 + 7
    assert Record(key=b"key", value=None, headers=()).size_bytes == 3
