"""Events of the log by pages: from a position on, or the newest ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb

from eventflows_cli.calls import Calls
from eventflows_cli.kinds import Kind

PAGE_EVENTS_MAX: Final = 1_000
"""The registry's own limit of one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Of these kinds or these streams only; empty: all."""

    kinds: Sequence[Kind] = field(default=())
    stream_ids: Sequence[str] = field(default=())

    def page(self, **fields: object) -> pb.ReadLogRequest:
        """A request with this filter."""
        return pb.ReadLogRequest(
            kinds=[kind.number for kind in self.kinds],
            stream_ids=self.stream_ids,
            **fields,  # type: ignore[arg-type]
        )

    def watch(self, after_position: int) -> pb.WatchRequest:
        """A request with this filter."""
        return pb.WatchRequest(
            after_position=after_position,
            kinds=[kind.number for kind in self.kinds],
            stream_ids=self.stream_ids,
        )


async def forward(
    calls: Calls, wanted: Filter, *, after: int, to: int
) -> AsyncIterator[Sequence[events_pb2.RecordedEvent]]:
    """Pages of the events after..to, oldest first. Raises kernel errors."""
    while after < to:
        request = wanted.page(after_position=after, to_position=to, limit=PAGE_EVENTS_MAX)
        page = await calls.ask(calls.stub.ReadLog, request)
        yield page.events
        after = _moved(page.covered_position, since=after)


async def backward(
    calls: Calls, wanted: Filter, *, to: int
) -> AsyncIterator[Sequence[events_pb2.RecordedEvent]]:
    """Pages of the events up to `to`, newest first. Raises kernel errors."""
    while to > 0:
        request = wanted.page(to_position=to, limit=PAGE_EVENTS_MAX, newest_first=True)
        page = await calls.ask(calls.stub.ReadLog, request)
        yield page.events
        to = _moved(page.covered_position - 1, since=to)


async def newest(
    calls: Calls, wanted: Filter, *, count: int, to: int
) -> Sequence[events_pb2.RecordedEvent]:
    """The last `count` events up to `to`, oldest first. Raises kernel errors."""
    found: list[events_pb2.RecordedEvent] = []
    while to > 0 and len(found) < count:
        limit = min(PAGE_EVENTS_MAX, count - len(found))
        request = wanted.page(to_position=to, limit=limit, newest_first=True)
        page = await calls.ask(calls.stub.ReadLog, request)
        found += page.events
        to = _moved(page.covered_position - 1, since=to)
    return found[::-1]


def _moved(position: int, *, since: int) -> int:
    if position == since:
        raise RuntimeError(f"the registry gave a page that covers nothing at {since}")
    return position
