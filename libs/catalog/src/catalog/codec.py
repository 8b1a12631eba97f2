"""One generic codec between our records and their protobuf messages.

Maps by class name and field name; enumerations are IntEnums with protobuf's own numbers. There is
no code per kind, so a field that is added on one side only is found by a test, not by a user.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from eventflows.events.v1 import events_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from catalog.events import Event, RecordedEvent
from catalog.metadata import metadata_message, metadata_of
from catalog.records import LEFT_OUT

KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
_ONEOF_FIELDS = {
    field.message_type.name: field
    for field in events_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields
    if field.message_type is not None
}
_FIELD_OF_KIND = {name: field.name for name, field in _ONEOF_FIELDS.items()}
_KIND_OF_FIELD = {field.name: KINDS[name] for name, field in _ONEOF_FIELDS.items()}
_STORED_NAME = {
    name: field.GetOptions().Extensions[events_pb2.stored_name]
    for name, field in _ONEOF_FIELDS.items()
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")
_Encode = Callable[[Any, Message], None]
_Convert = Callable[[Any, Any], Any]
# (values of all fields, which of them to convert, how to set each of the record's slots)
_Decoder = tuple[
    Callable[[Any], tuple[Any, ...]],
    tuple[tuple[int, _Convert], ...],
    tuple[Callable[[Any, Any], None], ...],
]

# How to map the fields of a class: worked out at its first use.
_ENCODERS: dict[type, tuple[tuple[str, _Encode], ...]] = {}
_DECODERS: dict[type, _Decoder] = {}


def stored_name(event: Event) -> str:
    """Versioned name of the event's kind in the log, such as `flow.enabled.v1`."""
    return _STORED_NAME[type(event).__name__]


def encode(event: Event) -> bytes:
    """Bytes of the `Event` message: what the log stores."""
    return to_message(event).SerializeToString(deterministic=True)


def decode(data: bytes) -> Event:
    """The event in `data`; raises ValueError for a kind this build does not know."""
    return from_message(events_pb2.Event.FromString(data))


def to_message(event: Event) -> events_pb2.Event:
    """The event as a protobuf message."""
    message = events_pb2.Event()
    name = type(event).__name__
    inner = getattr(message, _FIELD_OF_KIND[name])
    inner.SetInParent()
    fill(event, inner)
    return message


def from_message(message: events_pb2.Event) -> Event:
    """The event in a protobuf message.

    Raises ValueError for a kind or an enumeration's number that this build does not know.
    """
    which = message.WhichOneof("kind")
    if which is None:
        raise ValueError("an event of a kind that this build does not know: upgrade this service")
    return read(_KIND_OF_FIELD[which], getattr(message, which))


def recorded_to_message(recorded: RecordedEvent) -> events_pb2.RecordedEvent:
    """A recorded event as a protobuf message."""
    message = events_pb2.RecordedEvent(
        position=recorded.position, stream_id=recorded.stream_id, version=recorded.version
    )
    _set_time(message.time, recorded.time)
    message.metadata.CopyFrom(metadata_message(recorded.metadata))
    message.event.CopyFrom(to_message(recorded.event))
    return message


def recorded_from_message(message: events_pb2.RecordedEvent) -> RecordedEvent:
    """A recorded event from its protobuf message."""
    return RecordedEvent(
        position=message.position,
        stream_id=message.stream_id,
        version=message.version,
        time=_as_datetime(message.time),
        metadata=metadata_of(message.metadata),
        event=from_message(message.event),
    )


def fill(record: object, message: Message) -> None:
    """Write a record of any class of ours into an empty message of its name."""
    for name, encode_field in _encoders(type(record)):
        encode_field(getattr(record, name), message)


def _fill_each(name: str, records: Iterable[object], message: Message) -> None:
    for record in records:
        fill(record, getattr(message, name).add())


def read(kind: type[T], message: Message) -> T:
    """The record in a message of its name; what messages leave out is empty.

    Made slot by slot: its constructor would take twice as long.
    """
    values_of, conversions, setters = _decoder(kind)
    values = list(values_of(message))
    for number, convert in conversions:
        values[number] = convert(message, values[number])
    record = object.__new__(kind)
    for set_slot, value in zip(setters, values, strict=True):
        set_slot(record, value)
    return record


def _encoders(kind: type) -> tuple[tuple[str, _Encode], ...]:
    plan = _ENCODERS.get(kind)
    if plan is None:
        hints = get_type_hints(kind)
        plan = tuple(
            (f.name, _encoder(f.name, hints[f.name]))
            for f in fields(kind)
            if LEFT_OUT not in f.metadata
        )
        _ENCODERS[kind] = plan
    return plan


def _decoder(kind: type) -> _Decoder:
    """All fields are taken in one step; only what is not the same in both worlds is converted."""
    plan = _DECODERS.get(kind)
    if plan is None:
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind) if LEFT_OUT not in field.metadata]
        left_out = {
            field.name: field.metadata[LEFT_OUT]
            for field in fields(kind)
            if LEFT_OUT in field.metadata
        }
        converters = [_conversion(name, hints[name]) for name in names]
        values_of = attrgetter(*names) if len(names) > 1 else partial(_only, names[0])
        plan = _DECODERS[kind] = (
            partial(_with, values_of, tuple(left_out.values())) if left_out else values_of,
            tuple((number, one) for number, one in enumerate(converters) if one is not None),
            tuple(getattr(kind, name).__set__ for name in (*names, *left_out)),
        )
    return plan


def _only(name: str, message: Message) -> tuple[Any]:
    return (getattr(message, name),)


def _with(
    values_of: Callable[[Any], tuple[Any, ...]], left_out: tuple[Any, ...], message: Message
) -> tuple[Any, ...]:
    return values_of(message) + left_out


def _encoder(name: str, hint: Any) -> _Encode:
    item, repeated, optional = _shape(hint)
    if repeated and item in (str, int, bytes):
        return lambda value, message: getattr(message, name).extend(value)
    if repeated:
        return partial(_fill_each, name)
    if item is datetime:
        return partial(_fill_time, name)
    if item in (str, int, bool, bytes, float) or issubclass(item, IntEnum):
        return lambda value, message: setattr(message, name, value)

    def nested(value: object, message: Message) -> None:
        if value is not None or not optional:
            inner = getattr(message, name)
            inner.SetInParent()
            fill(value, inner)

    return nested


def _conversion(name: str, hint: Any) -> _Convert | None:
    """(message, value of its field) → value of the record; None: it is the same."""
    item, repeated, optional = _shape(hint)
    if repeated and item in (str, int, bytes):
        return lambda message, values: tuple(values)
    if repeated:
        return lambda message, values: tuple(read(item, one) for one in values)
    if item is datetime and optional:
        return lambda message, stamp: _as_datetime(stamp) if message.HasField(name) else None
    if item is datetime:
        return lambda message, stamp: _as_datetime(stamp)
    if issubclass(item, IntEnum):
        known = {number.value: number for number in item}
        # Asking the class is slow; it is asked for what is unknown, and refuses.
        return lambda message, number: known.get(number) or item(number)
    if item in (str, int, bool, bytes, float):
        return None
    if optional:
        return lambda message, inner: read(item, inner) if message.HasField(name) else None
    return lambda message, inner: read(item, inner)


def _shape(hint: Any) -> tuple[Any, bool, bool]:
    """(item type, repeated?, optional?) of a field's annotation."""
    if get_origin(hint) is tuple:
        return get_args(hint)[0], True, False
    if get_origin(hint) in (Union, types.UnionType):
        item = next(arg for arg in get_args(hint) if arg is not type(None))
        return item, False, True
    return hint, False, False


def _fill_time(name: str, time: datetime | None, message: Message) -> None:
    if time is not None:
        _set_time(getattr(message, name), time)


def _set_time(stamp: Timestamp, time: datetime) -> None:
    if time.tzinfo is None:
        raise ValueError(f"a time without a zone: {time.isoformat()}; give aware UTC")
    stamp.FromDatetime(time)


def _as_datetime(stamp: Timestamp) -> datetime:
    """Its own `ToDatetime` takes three times as long, for every event of a log."""
    try:
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1_000)
    except OverflowError as error:
        raise ValueError(f"a time that no calendar has: {stamp.seconds} s since 1970") from error


__all__ = [
    "KINDS",
    "decode",
    "encode",
    "fill",
    "from_message",
    "read",
    "recorded_from_message",
    "recorded_to_message",
    "stored_name",
    "to_message",
]
