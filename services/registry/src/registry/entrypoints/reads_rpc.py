"""Reads of aggregates and of the log, now and as of a moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import grpc.aio
from catalog import aggregates
from catalog.metadata import metadata_message
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput, TooLarge

from registry.application.diff import Change, Diff, Wanted
from registry.application.history import History, Place
from registry.application.read_log import LogReading, Query
from registry.application.statistics import LogStatistics
from registry.entrypoints.as_of import as_of_from, moment_message
from registry.entrypoints.kinds import id_of, kind_of
from registry.entrypoints.page_tokens import place_in, token_of
from registry.entrypoints.watch_rpc import selection_of
from registry.ports.event_store import Head, StoredEvent

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
ANSWER_BYTES_MAX: Final = 3 * 1024 * 1024
"""Below what a message may have (4 MB), with room for its frame."""

Context = grpc.aio.ServicerContext[Any, Any]


class ReadsRpc:
    """`GetAggregate`, `ListAggregates`, `ReadLog`, `Diff`, `GetLogStatistics`."""

    def __init__(
        self, *, history: History, reading: LogReading, diff: Diff, statistics: LogStatistics
    ) -> None:
        self._history = history
        self._reading = reading
        self._diff = diff
        self._statistics = statistics

    async def GetAggregate(  # noqa: N802
        self, request: pb.GetAggregateRequest, _context: Context
    ) -> pb.GetAggregateResponse:
        kind, aggregate_id = kind_of("kind", request.kind), id_of("id", request.id)
        moment, state = await self._history.state(kind, aggregate_id, as_of_from(request.as_of))
        answer = pb.GetAggregateResponse(moment=moment_message(moment))
        if state is not None:
            answer.aggregate.CopyFrom(_state_message(state))
        return answer

    async def ListAggregates(  # noqa: N802
        self, request: pb.ListAggregatesRequest, _context: Context
    ) -> pb.ListAggregatesResponse:
        kind = kind_of("kind", request.kind)
        limit = _limit("page_size", request.page_size)
        place = place_in(request.page_token, kind) if request.page_token else None
        found = await self._history.listed(
            kind, as_of_from(request.as_of), limit=limit, place=place
        )
        messages = _within_bytes(found.states)
        answer = pb.ListAggregatesResponse(moment=moment_message(found.moment), aggregates=messages)
        if found.rest or len(messages) < len(found.states):
            following = Place(position=found.moment.position, offset=found.offset + len(messages))
            answer.next_page_token = token_of(kind, following)
        return answer

    async def ReadLog(  # noqa: N802
        self, request: pb.ReadLogRequest, _context: Context
    ) -> pb.ReadLogResponse:
        page = await self._reading.page(
            Query(
                after=request.after_position,
                to=request.to_position,
                limit=_limit("limit", request.limit),
                newest_first=request.newest_first,
                selection=selection_of(request.kinds, request.stream_ids),
            )
        )
        return pb.ReadLogResponse(
            events=map(_event_message, page.events),
            head_position=page.head,
            covered_position=page.covered,
        )

    async def Diff(self, request: pb.DiffRequest, _context: Context) -> pb.DiffResponse:  # noqa: N802
        wanted = Wanted(
            kinds=frozenset(kind_of("kinds", number) for number in request.kinds),
            ids=frozenset(id_of("ids", one) for one in request.ids),
        )
        before: pb.AsOf = getattr(request, "from")
        found = await self._diff.between(as_of_from(before), as_of_from(request.to), wanted)
        answer = pb.DiffResponse(
            to=moment_message(found.after), changes=map(_change_message, found.changes)
        )
        getattr(answer, "from").CopyFrom(moment_message(found.before))
        if answer.ByteSize() > ANSWER_BYTES_MAX:
            raise TooLarge(
                "the differences are more than an answer may hold: name kinds, ids, or moments "
                "closer together"
            )
        return answer

    async def GetLogStatistics(  # noqa: N802
        self, _request: pb.GetLogStatisticsRequest, _context: Context
    ) -> pb.LogStatistics:
        found = await self._statistics.now()
        sizes = found.sizes
        return pb.LogStatistics(
            head=_head_message(found.head),
            first_position=found.first_position,
            seals=sizes.seals,
            commands=sizes.commands,
            events_of_kind=sizes.events_of_kind,
            streams_of_category=sizes.streams_of_category,
            bytes_of_table=sizes.bytes_of_table,
            snapshot_positions=found.snapshot_positions,
            covered_to_position=sizes.covered_to_position,
        )


def _head_message(head: Head) -> pb.Head:
    """The end of the log."""
    message = pb.Head(position=head.position, hash=head.hash)
    message.time.FromDatetime(head.time)
    return message


def _limit(field: str, given: int) -> int:
    if not 0 <= given <= LIMIT_MAX:
        raise InvalidInput(f"{field} must be between 1 and {LIMIT_MAX}, or 0 for {LIMIT_DEFAULT}")
    return given or LIMIT_DEFAULT


def _state_message(state: aggregates.State) -> catalog_pb2.Aggregate:
    message = aggregates.to_message(state)
    if message.ByteSize() > ANSWER_BYTES_MAX:
        raise TooLarge(
            f"{aggregates.id_of(state)} is larger than an answer may be: read its events by ReadLog"
        )
    return message


def _within_bytes(states: Sequence[aggregates.State]) -> list[catalog_pb2.Aggregate]:
    """As many messages as one answer holds, at least one if there is one."""
    messages: list[catalog_pb2.Aggregate] = []
    size_bytes = 0
    for state in states:
        message = _state_message(state)
        size_bytes += message.ByteSize()
        if messages and size_bytes > ANSWER_BYTES_MAX:
            break
        messages.append(message)
    return messages


def _event_message(stored: StoredEvent) -> events_pb2.RecordedEvent:
    """From the stored bytes, so an event of a newer build passes unchanged."""
    message = events_pb2.RecordedEvent(
        position=stored.position,
        stream_id=stored.stream_id,
        version=stored.version,
        metadata=events_pb2.Metadata.FromString(stored.metadata),
        event=events_pb2.Event.FromString(stored.data),
    )
    message.time.FromDatetime(stored.time)
    return message


def _change_message(change: Change) -> pb.Change:
    found, cause = change.difference, change.difference.cause
    message = pb.Change(
        kind=found.kind.value,  # type: ignore[arg-type]
        id=found.id,
        name=found.name,
        field=found.field,
        to=found.after,
        position=cause.position,
        event_name=cause.event_name,
        metadata=metadata_message(cause.metadata),
        actor_name=change.actor_name,
        key_label=change.key_label,
        **{"from": found.before},  # type: ignore[arg-type]
    )
    message.time.FromDatetime(cause.time)
    return message
