"""The log for admins, over REST: read it, compare two moments, revert."""

from __future__ import annotations

from kernel.errors import InvalidInput

from gateway.application import log
from gateway.application.log_records import ChangeRecord, EventRecord, Origin
from gateway.domain.moment import Moment, as_of, exact_time
from gateway.entrypoints.rest import wire, wire_log
from gateway.entrypoints.rest.call import Answer, Call, etag
from gateway.entrypoints.rest.operation import PAGE_QUERY, KeyKind, Operation, reads, takes


async def get_log_head(call: Call) -> Answer:
    """Tell where the log ends: its position, chain hash and time."""
    found = await log.head(call.gateway, call.admin)
    body = wire_log.Head(
        position=found.position, hash=found.hash.hex(), time=exact_time(found.time)
    )
    return Answer(body=body, headers=etag(found.position))


async def list_events(call: Call) -> Answer:
    """List the events of the log, newest first; a page may be short and not the last."""
    page = await log.list_events(call.gateway, call.admin, _filter(call), call.page)
    return call.page_answer(page, _event)


async def get_event(call: Call) -> Answer:
    """Show one event of the log."""
    record = await log.get_event(call.gateway, call.admin, int(call.path("position")))
    return Answer(body=_event(record), headers=etag(record.version))


async def get_diff(call: Call) -> Answer:
    """Tell what differs between two moments, and who changed it."""
    given = {name: call.query(name) for name in ("from", "to")}
    if not given["from"]:
        raise InvalidInput("from is needed: give a position of the log or a time to compare with")
    record = await log.diff(
        call.gateway,
        call.admin,
        before=as_of(given["from"], field="from"),
        after=as_of(given["to"], field="to") if given["to"] else None,
        wanted=_filter(call),
    )
    body = wire_log.Diff(
        from_=_moment(record.before),
        to=_moment(record.after),
        changes=[_change(one) for one in record.changes],
    )
    return Answer(body=body)


async def revert(call: Call, body: wire_log.Revert) -> Answer:
    """Bring one thing back to an earlier version of its stream, by appending events."""
    done = await log.revert(
        call.gateway,
        call.admin,
        kind=body.kind,
        stream_id=body.id,
        to_version=body.to_version,
        intent=call.intent(),
    )
    shown = wire_log.Reverted(
        kind=body.kind,
        id=done.id,
        version=done.stream_version,
        position=done.position,
        changed=done.changed,
    )
    return Answer(body=shown, headers=etag(done.stream_version))


def _filter(call: Call) -> log.EventFilter:
    return log.EventFilter(kind=call.query("kind"), id=call.query("id"), actor=call.query("actor"))


def _event(record: EventRecord) -> wire_log.Event:
    return wire_log.Event(
        position=record.position,
        kind=record.kind,
        id=record.id,
        version=record.version,
        event=record.name,
        time=exact_time(record.time),
        origin=_origin(record.origin),
        data=dict(record.data),
    )


def _change(record: ChangeRecord) -> wire_log.Change:
    return wire_log.Change(
        kind=record.kind,
        id=record.id,
        name=record.name,
        field=record.field or None,
        from_=record.before or None,
        to=record.after or None,
        position=record.position,
        time=exact_time(record.time),
        event=record.event,
        origin=_origin(record.origin),
    )


def _origin(record: Origin) -> wire_log.Origin:
    return wire_log.Origin(
        actor=record.actor,
        actor_name=record.actor_name,
        key_id=record.key_id or None,
        key_label=record.key_label,
        command_id=record.command_id,
        request_id=record.request_id or None,
        traceparent=record.traceparent or None,
    )


def _moment(moment: Moment) -> wire_log.Moment:
    return wire_log.Moment(position=moment.position, time=exact_time(moment.time))


_ADMIN = KeyKind.ADMIN
_LOG = "/v1/admin/log"

OPERATIONS: tuple[Operation, ...] = (
    reads(
        _LOG,
        list_events,
        key=_ADMIN,
        answer=wire.Page[wire_log.Event],
        query=("kind", "id", "actor", *PAGE_QUERY),
        live=True,
    ),
    reads(f"{_LOG}/head", get_log_head, key=_ADMIN, answer=wire_log.Head, live=True, single=True),
    reads(
        f"{_LOG}/diff",
        get_diff,
        key=_ADMIN,
        answer=wire_log.Diff,
        query=("from", "to", "kind", "id"),
        required_query=("from",),
        live=True,
    ),
    takes(
        "POST",
        f"{_LOG}/revert",
        revert,
        key=_ADMIN,
        body=wire_log.Revert,
        answer=wire_log.Reverted,
    ),
    reads(
        f"{_LOG}/{{position}}", get_event, key=_ADMIN, answer=wire_log.Event, live=True, single=True
    ),
)
