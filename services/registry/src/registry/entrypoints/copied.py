"""From protobuf messages to records of the domain: one generic copy by field name."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from enum import IntEnum
from functools import cache
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from catalog import codec
from google.protobuf.message import Message
from kernel.errors import InvalidInput

T = TypeVar("T")
E = TypeVar("E", bound=IntEnum)


def copied(kind: type[T], message: Message, **given: Any) -> T:
    """The record `kind` with the message's fields of the same names, but for those given."""
    hints = _hints(cast(Any, kind))
    found = {name: _value(name, hint, message) for name, hint in hints if name not in given}
    return kind(**found, **given)


@cache
def _hints(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind))


def _value(name: str, hint: Any, message: Message) -> Any:
    value = getattr(message, name)
    if get_origin(hint) is tuple and get_args(hint)[0] is str:
        return tuple(value)
    if hint is datetime:
        return _time(name, message)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return enumeration(hint, name, value)
    if isinstance(value, Message):
        return _record(name, hint, message)
    return value


def _record(name: str, hint: Any, message: Message) -> Any:
    """The record of a field that is a message of its name; None where it may be absent and is."""
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    if NoneType in get_args(hint) and not message.HasField(name):
        return None
    try:
        return codec.read(kinds[0], getattr(message, name))
    except ValueError as error:
        raise InvalidInput(f"{name} has a value that this registry does not know") from error


def enumeration(kind: type[E], name: str, value: int) -> E:
    try:
        return kind(value)
    except ValueError as error:
        raise InvalidInput(f"{name} has a value that this registry does not know") from error


def _time(name: str, message: Message) -> datetime:
    if not message.HasField(name):
        raise InvalidInput(f"{name} must be given")
    try:
        time: datetime = getattr(message, name).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{name} must be a time") from error
    return time
