"""Messages as the JSON that this command prints: documented, and stable over releases. Pure.

Protobuf's own JSON is not used: it writes 64-bit numbers as strings and bytes in base64. Here
numbers are numbers, times RFC 3339 in UTC with microseconds, bytes hex digits, enumerations words
in lower case without their prefix, absent messages null.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeAlias

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

Json: TypeAlias = dict[str, Any]


def of_message(message: Message) -> Json:
    """Every field, also those with default values; of a oneof the one that is set."""
    shape: Json = {}
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and not message.HasField(field.name):
            continue
        shape[field.name] = _field(message, field)
    return shape


def of_time(stamp: Timestamp) -> str:
    """RFC 3339 in UTC, always with six digits of the second."""
    return rfc3339(stamp.ToDatetime(tzinfo=UTC))


def rfc3339(time: datetime) -> str:
    """`2026-11-24T09:30:00.000000Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time_of(text: str) -> datetime:
    """The time that `rfc3339` wrote."""
    return datetime.fromisoformat(text)


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return {str(key): value[key] for key in sorted(value)}
        return [_value(item, field) for item in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: Any) -> Any:
    if isinstance(value, Timestamp):
        return of_time(value)
    if isinstance(value, Message):
        return of_message(value)
    if field.enum_type is not None:
        return word(field.enum_type, value)
    return value.hex() if isinstance(value, bytes) else value


def word(kind: EnumDescriptor, number: int) -> str:
    """`SECURITY_PROTOCOL_SASL_SSL` → `sasl_ssl`; a number of a newer build stays a number."""
    known = kind.values_by_number.get(number)
    if known is None:
        return str(number)
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return known.name.removeprefix(prefix).lower()
