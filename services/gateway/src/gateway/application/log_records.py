"""The log as people read it: ids with the names that go with them, no secret, no hash of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from catalog.catalog import Catalog
from catalog.codec import recorded_from_message, stored_name
from catalog.events import Metadata
from catalog.kinds import KIND_OF_EVENT, AggregateKind
from catalog.metadata import metadata_of
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from gateway.domain.moment import Moment

KINDS: Mapping[str, AggregateKind] = {
    kind.name.lower(): kind for kind in AggregateKind if kind is not AggregateKind.UNSPECIFIED
}
KIND_NAMES = {kind: name for name, kind in KINDS.items()}
NEVER_SHOWN = ("key_sha256",)
"""Whoever has it can test guesses of a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who caused something and by which request. Names are None when nobody has them any more."""

    actor: str
    actor_name: str | None
    key_id: str
    key_label: str | None
    command_id: str
    request_id: str
    traceparent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One event. `data` has its fields by their names in `events.proto`."""

    position: int
    kind: str
    id: str
    version: int
    name: str
    time: datetime
    origin: Origin
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRecord:
    """One field that is not as it was; an empty `field`: the whole thing came or went."""

    kind: str
    id: str
    name: str
    field: str
    before: str
    after: str
    position: int
    time: datetime
    event: str
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRecord:
    """What differs between two moments, as they were resolved."""

    before: Moment
    after: Moment
    changes: tuple[ChangeRecord, ...]


def event_record(catalog: Catalog, message: events_pb2.RecordedEvent) -> EventRecord:
    """An event, with the names that its actor and key have now."""
    recorded = recorded_from_message(message)
    event, about = recorded.event, recorded.metadata
    account = catalog.account(about.actor)
    keys = account.keys if account is not None else ()
    return EventRecord(
        position=message.position,
        kind=KIND_NAMES[KIND_OF_EVENT[type(event)]],
        id=message.stream_id,
        version=message.version,
        name=stored_name(event),
        time=message.time.ToDatetime(tzinfo=UTC),
        origin=_origin(
            about,
            actor_name=account.username if account is not None else None,
            key_label=next((key.label for key in keys if key.key_id == about.key_id), None),
        ),
        data=_fields(getattr(message.event, message.event.WhichOneof("kind") or "")),
    )


def change_record(message: registry_pb2.Change) -> ChangeRecord:
    """A change as the registry tells it."""
    return ChangeRecord(
        kind=KIND_NAMES[AggregateKind(message.kind)],
        id=message.id,
        name=message.name,
        field=message.field,
        before=getattr(message, "from"),
        after=message.to,
        position=message.position,
        time=message.time.ToDatetime(tzinfo=UTC),
        event=message.event_name,
        origin=_origin(
            metadata_of(message.metadata),
            actor_name=message.actor_name or None,
            key_label=message.key_label or None,
        ),
    )


def _origin(about: Metadata, *, actor_name: str | None, key_label: str | None) -> Origin:
    return Origin(
        actor=about.actor,
        actor_name=actor_name,
        key_id=about.key_id,
        key_label=key_label,
        command_id=about.command_id,
        request_id=about.correlation_id,
        traceparent=about.traceparent,
    )


def _fields(message: Message) -> dict[str, Any]:
    """Every field by its name, enumerations by theirs; fingerprints in hex, as everywhere."""
    shown: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    for name in NEVER_SHOWN:
        shown.pop(name, None)
    _fingerprints_in_hex(message, shown)
    return shown


def _fingerprints_in_hex(message: Message, shown: dict[str, Any]) -> None:
    for field, value in message.ListFields():
        if isinstance(value, events_pb2.SecretRef):
            shown[field.name]["fingerprint"] = value.fingerprint.hex()
        elif isinstance(value, events_pb2.Channel):
            _fingerprints_in_hex(value, shown[field.name])
