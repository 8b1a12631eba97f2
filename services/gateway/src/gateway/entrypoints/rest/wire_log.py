"""The JSON of the log; the rules are those of `wire`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.entrypoints.rest.wire import Body, Number, Time

Kind = Literal["account", "algorithm", "connection", "topic_access", "flow", "dead_letter_task"]


class Head(Struct, frozen=True):
    """Where the log ends. Kept elsewhere, it proves later that the log was not rewritten."""

    position: int
    hash: str
    time: Time


class Moment(Struct, frozen=True):
    """A position of the log, and the time of the seal that holds it."""

    position: int
    time: Time


class Origin(Struct, frozen=True):
    """Who caused something: by which key and which request. A revoked key has no label any more."""

    actor: str
    actor_name: str | None
    key_id: str | None
    key_label: str | None
    command_id: str
    request_id: str | None
    traceparent: str | None


class Event(Struct, frozen=True):
    """One event. `data` has the fields of its kind; credentials are references."""

    position: int
    kind: str
    id: str
    version: int
    event: str
    time: Time
    origin: Origin
    data: dict[str, Any]
    resource_type: Literal["event"] = "event"


class Change(Struct, frozen=True):
    """One field that is not as it was. `field` null: the whole thing came or went."""

    kind: str
    id: str
    name: str
    field: str | None
    from_: str | None = msgspec.field(name="from")
    to: str | None
    position: int
    time: Time
    event: str
    origin: Origin


class Diff(Struct, frozen=True):
    """What differs between two moments, as they were resolved."""

    from_: Moment = msgspec.field(name="from")
    to: Moment
    changes: list[Change]


class Revert(Body, frozen=True):
    """Bring one thing back to an earlier version of its stream."""

    kind: Kind
    id: str
    to_version: Number


class Reverted(Struct, frozen=True):
    """Where the thing is now. Not `changed`: it was as asked already."""

    kind: Kind
    id: str
    version: int
    position: int
    changed: bool
