"""Events and states as CloudEvents in Kafka's binary mode. Pure.

One event of the log becomes one record of the full topic, and one record of the state topic for
each aggregate that it touched (a tombstone for one that is gone). Secrets are references there, as
they are in the log. The format is written down in docs/relay.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC

from catalog import codec
from catalog.metadata import metadata_of
from cloudevents.core.bindings.kafka import to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from google.protobuf.json_format import MessageToDict
from kernel.errors import StateForbids

POSITION_HEADER = "ce_position"
TYPE_PREFIX = "eventflows."
STATE_TYPE_SUFFIX = ".state.v1"
IDENTITY_HEADERS = (POSITION_HEADER, "ce_type", "ce_streamversion", "ce_commandid")
_JSON = JSONFormat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is sent. A value of None is a tombstone."""

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def size_bytes(self) -> int:
        """Of key, value and headers; Kafka adds a few bytes for each."""
        headers = sum(len(name) + len(content) for name, content in self.headers)
        return len(self.key) + len(self.value or b"") + headers


def of_event(recorded: events_pb2.RecordedEvent, *, source: str) -> Record:
    """The record of the full topic; its key is the stream's id. Raises StateForbids for an event
    that this build does not know."""
    try:
        event = codec.from_message(recorded.event)
    except ValueError as error:
        raise StateForbids(
            f"event {recorded.position} is of a newer build: upgrade this command"
        ) from error
    which = recorded.event.WhichOneof("kind")
    assert which is not None  # else it would not be known
    attributes = _attributes(recorded, source=source) | {
        "id": str(recorded.position),
        "type": TYPE_PREFIX + codec.stored_name(event),
    }
    return _record(attributes, _json(getattr(recorded.event, which)))


def of_state(
    recorded: events_pb2.RecordedEvent,
    aggregate_id: str,
    aggregate: catalog_pb2.Aggregate | None,
    *,
    source: str,
) -> Record:
    """The record of the state topic for one aggregate, as it is after `recorded`."""
    if aggregate is None:
        position = str(recorded.position).encode()
        return Record(key=aggregate_id.encode(), value=None, headers=((POSITION_HEADER, position),))
    which = aggregate.WhichOneof("state")
    assert which is not None  # made by catalog.aggregates from a record
    attributes = _attributes(recorded, source=source) | {
        "id": f"{recorded.position}/{aggregate_id}",
        "type": f"{TYPE_PREFIX}{which}{STATE_TYPE_SUFFIX}",
        "subject": aggregate_id,
        "partitionkey": aggregate_id,
    }
    return _record(attributes, _json(getattr(aggregate, which)))


def is_of(
    recorded: events_pb2.RecordedEvent,
    *,
    key: bytes | None,
    headers: Iterable[tuple[str, bytes]],
) -> bool:
    """Was a record of the full topic made of this event?

    Its value does not tell: a later build may write the fields of the same event otherwise.
    """
    made, given = of_event(recorded, source="/"), dict(headers)
    expected = dict(made.headers)
    return key == made.key and all(
        given.get(name) == expected.get(name) for name in IDENTITY_HEADERS
    )


def _attributes(recorded: events_pb2.RecordedEvent, *, source: str) -> dict[str, object]:
    about = metadata_of(recorded.metadata)
    given = {
        "actor": about.actor,
        "commandid": about.command_id,
        "correlationid": about.correlation_id,
        "keyid": about.key_id,
        "traceparent": about.traceparent,
    }
    return {
        "specversion": "1.0",
        "source": source,
        "subject": recorded.stream_id,
        "time": recorded.time.ToDatetime(tzinfo=UTC),
        "datacontenttype": "application/json",
        "partitionkey": recorded.stream_id,
        "position": str(recorded.position),
        "streamversion": str(recorded.version),
    } | {name: value for name, value in given.items() if value}


def _record(attributes: dict[str, object], data: dict[str, object]) -> Record:
    message = to_binary(CloudEvent(attributes, data), _JSON)
    key = message.key if isinstance(message.key, bytes) else str(message.key).encode()
    return Record(key=key, value=message.value, headers=tuple(message.headers.items()))


def _json(message: object) -> dict[str, object]:
    """Protobuf's own JSON, with our field names: enumerations by name, bytes in base64."""
    as_json: dict[str, object] = MessageToDict(
        message,  # type: ignore[arg-type]
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    return as_json
