"""Ids as people know them: user names, `owner/algorithm`, `algorithm ← topic on connection`.

Each id is asked for once; what passes by in events is learned without asking.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from catalog.metadata import metadata_of
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput, NotFound, Overloaded, StateForbids, Unavailable

from eventflows_cli.calls import Calls
from eventflows_cli.kinds import Kind, kind_of_event, stored_name

NAMES_MAX: Final = 10_000
ASKED_AT_ONCE_MAX: Final = 8
SERVICE_PREFIX: Final = "service:"

_TASK_WORDS: Final = {
    catalog_pb2.DEAD_LETTER_TASK_KIND_UNSPECIFIED: "task",
    catalog_pb2.DEAD_LETTER_TASK_KIND_REDRIVE: "redrive",
    catalog_pb2.DEAD_LETTER_TASK_KIND_PURGE: "purge",
}

Thing = tuple[Kind, str]
"""An aggregate by kind and id."""


class Names:
    """Names as of one moment; None: now. Raises nothing for a name: without one an id must do."""

    def __init__(self, calls: Calls, *, as_of: pb.AsOf | None = None) -> None:
        self._calls = calls
        self._as_of = as_of
        self._known: OrderedDict[str, str] = OrderedDict()
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE_MAX)

    async def of(self, kind: Kind, id_: str) -> str:
        """The name; asks at most for the thing itself and for what its name is made of."""
        known = self._known.get(id_)
        if known is None:
            try:
                known = await self._asked(kind, id_)
            except (Overloaded, Unavailable):  # `tail -f` lives longer than its registry
                return id_
            self._keep(id_, known)
        return known

    async def of_actor(self, actor: str) -> str:
        """The user's name; a service is its own."""
        if not actor or actor.startswith(SERVICE_PREFIX):
            return actor
        return await self.of(Kind.ACCOUNT, actor)

    async def of_stream(self, recorded: events_pb2.RecordedEvent) -> str:
        """The name of what the event happened to."""
        kind = kind_of_event(stored_name(recorded.event))
        return "" if kind is None else await self.of(kind, recorded.stream_id)

    async def learn(self, events: Iterable[events_pb2.RecordedEvent]) -> None:
        """Take the names that these events tell, and ask for the others, several at once."""
        wanted: dict[str, Kind] = {}
        for recorded in events:
            if told := told_name(recorded.event):
                self._keep(recorded.stream_id, told)
            kind = kind_of_event(stored_name(recorded.event))
            if kind is not None:
                wanted[recorded.stream_id] = kind
            actor = metadata_of(recorded.metadata).actor
            if actor and not actor.startswith(SERVICE_PREFIX):
                wanted[actor] = Kind.ACCOUNT
        unknown = [self._learn(kind, id_) for id_, kind in wanted.items() if id_ not in self._known]
        await asyncio.gather(*unknown)

    async def of_aggregate(self, aggregate: catalog_pb2.Aggregate) -> str:
        """The name of a thing whose state is at hand."""
        match aggregate.WhichOneof("state"):
            case "account":
                return aggregate.account.username
            case "algorithm":
                return f"{aggregate.algorithm.owner_name}/{aggregate.algorithm.name}"
            case "connection":
                return aggregate.connection.name
            case "topic_access":
                access = aggregate.topic_access
                return f"{access.topic} on {await self.of(Kind.CONNECTION, access.connection_id)}"
            case "flow":
                return await self._flow(aggregate.flow)
            case "dead_letter_task":
                task = aggregate.dead_letter_task
                return f"{_TASK_WORDS[task.kind]} of {await self.of(Kind.FLOW, task.flow_id)}"
            case _:
                return ""

    async def _learn(self, kind: Kind, id_: str) -> None:
        async with self._asking:
            await self.of(kind, id_)

    async def _asked(self, kind: Kind, id_: str) -> str:
        request = pb.GetAggregateRequest(kind=kind.number, id=id_, as_of=self._as_of)
        try:
            answer = await self._calls.ask(self._calls.stub.GetAggregate, request)
            if answer.HasField("aggregate"):
                return await self.of_aggregate(answer.aggregate)
            return await self._first_told(id_) or id_
        except (InvalidInput, NotFound, StateForbids):  # archived, for example: its id must do
            return id_

    async def _first_told(self, id_: str) -> str:
        """A thing that is gone still has the name that its first event gave it."""
        request = pb.ReadLogRequest(stream_ids=[id_], limit=1)
        page = await self._calls.ask(self._calls.stub.ReadLog, request)
        if not page.events:
            return ""
        event = page.events[0].event
        return told_name(event) or event.flow_created.channel.name

    async def _flow(self, flow: catalog_pb2.Flow) -> str:
        algorithm = await self.of(Kind.ALGORITHM, flow.algorithm_id)
        match flow.kind:
            case events_pb2.FLOW_KIND_CHAIN:
                return f"{algorithm} → {await self.of(Kind.ALGORITHM, flow.target_algorithm_id)}"
            case events_pb2.FLOW_KIND_PUBLISHER:
                return f"{algorithm} → {await self._channel(flow.channel)}"
            case _:
                return f"{algorithm} ← {await self._channel(flow.channel)}"

    async def _channel(self, channel: events_pb2.Channel) -> str:
        if not channel.connection_id:
            return channel.name
        return f"{channel.name} on {await self.of(Kind.CONNECTION, channel.connection_id)}"

    def _keep(self, id_: str, name: str) -> None:
        self._known[id_] = name
        self._known.move_to_end(id_)
        if len(self._known) > NAMES_MAX:
            self._known.popitem(last=False)


def told_name(event: events_pb2.Event) -> str:
    """The name that an event itself gives to its stream; empty when it gives none."""
    match event.WhichOneof("kind"):
        case "account_created":
            return event.account_created.username
        case "algorithm_created":
            return f"{event.algorithm_created.owner_name}/{event.algorithm_created.name}"
        case "connection_created":
            return event.connection_created.name
        case "connection_updated":
            return event.connection_updated.name
        case _:  # those of flows and topics are made of others' names
            return ""
