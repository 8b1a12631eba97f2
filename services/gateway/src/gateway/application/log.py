"""The log for admins: who changed what and when, what differs between two moments, and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from catalog.metadata import metadata_of
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from kernel.errors import InvalidInput, NotFound, StateForbids

from gateway.application.gateway import Gateway
from gateway.application.log_records import (
    KINDS,
    DiffRecord,
    EventRecord,
    change_record,
    event_record,
)
from gateway.application.moment_messages import as_of_message, moment_of
from gateway.domain.caller import Admin
from gateway.domain.fields import is_uuid, one_of
from gateway.domain.intent import Intent
from gateway.domain.moment import POSITION_MAX, AsOf
from gateway.domain.paging import Page, PageRequest, bad_marker, marker_at, place_of

SCANNED_PAGES_MAX = 10
"""A filter that the registry does not know looks at this many of its pages for one of ours."""
SCANNED_EVENTS_MAX = 1_000
VERSION_MAX = 2**31 - 1
FIRST_POSITION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events to list; empty words: all. `actor` is a user name or an id."""

    kind: str = ""
    id: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where the log ends. Kept elsewhere, it shows later that the log was not rewritten."""

    position: int
    hash: bytes
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """What became of a revert. Not `changed`: it was as asked already."""

    kind: str
    id: str
    position: int
    stream_version: int
    changed: bool


async def head(gateway: Gateway, _caller: Admin) -> Head:
    """Where the log ends now. Raises Unavailable."""
    found = await gateway.log.head()
    return Head(position=found.position, hash=found.hash, time=found.time.ToDatetime(tzinfo=UTC))


async def list_events(
    gateway: Gateway, _caller: Admin, wanted: EventFilter, page: PageRequest
) -> Page[EventRecord]:
    """Events, the newest first. A page may be shorter than its limit, even empty, and not the last.

    The list ends where the archive begins. Raises InvalidInput (5002 for the marker), Unavailable.
    """
    request = registry_pb2.ReadLogRequest(
        to_position=_place(page.marker), newest_first=True, kinds=_kinds(wanted.kind),
        stream_ids=_ids(wanted.id),
    )  # fmt: skip
    actor = _actor(gateway, wanted.actor)
    found: list[events_pb2.RecordedEvent] = []
    for _ in range(SCANNED_PAGES_MAX):
        request.limit = SCANNED_EVENTS_MAX if actor else page.limit
        try:
            answer = await gateway.log.read(request)
        except StateForbids:
            if not request.to_position:
                raise
            below = 0  # the log goes on below it, in the files of its archive
            break
        found += [one for one in answer.events if actor in ("", metadata_of(one.metadata).actor)]
        below = answer.covered_position - 1
        if len(found) > page.limit:
            below = found[page.limit - 1].position - 1
        if len(found) >= page.limit or below < FIRST_POSITION:
            break
        request.to_position = below
    return Page(
        items=tuple(event_record(gateway.catalog, one) for one in found[: page.limit]),
        marker=marker_at((below,)) if below >= FIRST_POSITION else None,
    )


async def get_event(gateway: Gateway, _caller: Admin, position: int) -> EventRecord:
    """One event. Raises NotFound, StateForbids (it was archived), Unavailable."""
    if FIRST_POSITION <= position <= POSITION_MAX:
        answer = await gateway.log.read(
            registry_pb2.ReadLogRequest(after_position=position - 1, to_position=position, limit=1)
        )
        for event in answer.events:
            return event_record(gateway.catalog, event)
    raise NotFound(
        "the log has no event at this position: GET /v1/admin/log/head tells where it ends"
    )


async def diff(
    gateway: Gateway,
    _caller: Admin,
    *,
    before: AsOf,
    after: AsOf | None,
    wanted: EventFilter,
) -> DiffRecord:
    """What differs between two moments; without `after`: between the first and now.

    Raises InvalidInput with the registry's sentence for moments that it does not have.
    """
    request = registry_pb2.DiffRequest(
        to=as_of_message(after) if after is not None else None,
        kinds=_kinds(wanted.kind),
        ids=_ids(wanted.id),
    )
    getattr(request, "from").CopyFrom(as_of_message(before))
    answer = await gateway.log.diff(request)
    return DiffRecord(
        before=moment_of(getattr(answer, "from")),
        after=moment_of(answer.to),
        changes=tuple(map(change_record, answer.changes)),
    )


async def revert(
    gateway: Gateway, caller: Admin, *, kind: str, stream_id: str, to_version: int, intent: Intent
) -> Reverted:
    """Bring one aggregate back to an earlier version, by appending events.

    Raises NotFound, InvalidInput, StateForbids (what stood then may not stand now) and
    VersionConflict.
    """
    if not 0 < to_version <= VERSION_MAX:
        raise InvalidInput(f"to_version must be a number from 1 to {VERSION_MAX}")
    (wanted,) = _kinds(one_of(kind, KINDS, field="kind"))
    if not is_uuid(stream_id):
        raise _no_id()
    stream_id = stream_id.lower()
    command = registry_pb2.RevertRequest(kind=wanted, stream_id=stream_id, to_version=to_version)
    try:
        result = await gateway.send(command, caller, intent)
    except NotFound as error:
        raise NotFound(
            f"there is no {kind} of this id with events of its own: "
            f"GET /v1/admin/log?kind={kind} lists what happened to which",
            code=error.code,
        ) from error
    return Reverted(
        kind=kind, id=stream_id, position=result.position, stream_version=result.version,
        changed=result.changed,
    )  # fmt: skip


def _place(marker: str) -> int:
    """The position that a page begins at; 0: the head. Raises InvalidInput (5002)."""
    if not marker:
        return 0
    match place_of(marker):
        case (int() as position,) if FIRST_POSITION <= position <= POSITION_MAX:
            return position
        case _:
            raise bad_marker()


def _kinds(kind: str) -> tuple[catalog_pb2.AggregateKind.ValueType, ...]:
    if not kind:
        return ()
    one_of(kind, KINDS, field="kind")
    return (catalog_pb2.AggregateKind.Value(f"AGGREGATE_KIND_{kind.upper()}"),)


def _ids(stream_id: str) -> tuple[str, ...]:
    if not stream_id:
        return ()
    if not is_uuid(stream_id):
        raise _no_id()
    return (stream_id.lower(),)


def _no_id() -> InvalidInput:
    return InvalidInput("id must be the id of a user, algorithm, connection, topic access or flow")


def _actor(gateway: Gateway, actor: str) -> str:
    """As the log has it; empty: anybody."""
    if not actor or actor.startswith("service:"):
        return actor
    if is_uuid(actor):
        return actor.lower()
    account = gateway.catalog.account_named(actor)
    if account is None:
        raise InvalidInput(
            "actor: there is no account of this name: use a user name, an id or service:ROLE"
        )
    return account.account_id
