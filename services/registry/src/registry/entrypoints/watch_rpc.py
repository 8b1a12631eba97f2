"""`Watch`: the log as a stream of batches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput, Overloaded, Unavailable

from registry.application.log_head import LogHead
from registry.application.metrics import RegistryMetrics
from registry.application.watch import watch
from registry.ports.event_store import EventStore, StoredEvent

WATCHERS_MAX = 500
WATCHERS_RETRY_AFTER_S = 5.0

Context = grpc.aio.ServicerContext[Any, Any]


class WatchRpc:
    """Any number of watchers up to WATCHERS_MAX."""

    def __init__(self, *, store: EventStore, head: LogHead, metrics: RegistryMetrics) -> None:
        self._store = store
        self._head = head
        self._metrics = metrics
        self._watchers = 0

    async def Watch(  # noqa: N802  gRPC's name
        self, request: pb.WatchRequest, _context: Context
    ) -> AsyncIterator[pb.WatchBatch]:
        if request.after_position < 0:
            raise InvalidInput("after_position must be 0 or more")
        if self._watchers >= WATCHERS_MAX:
            raise Overloaded("too many watchers", retry_after_s=WATCHERS_RETRY_AFTER_S)
        self._watchers += 1
        self._metrics.watchers.set(self._watchers)
        try:
            async for page in watch(self._store, self._head, request.after_position):
                yield pb.WatchBatch(
                    from_position=page.from_position,
                    to_position=page.to_position,
                    head_position=page.head_position,
                    events=[_recorded(event) for event in page.events],
                )
        finally:
            self._watchers -= 1
            self._metrics.watchers.set(self._watchers)
        raise Unavailable("the registry is stopping: watch again after your last position")


def _recorded(stored: StoredEvent) -> events_pb2.RecordedEvent:
    """The row as it goes out. Not decoded to records: a kind of a newer build passes unchanged."""
    message = events_pb2.RecordedEvent(
        position=stored.position, stream_id=stored.stream_id, version=stored.version
    )
    message.time.FromDatetime(stored.time)
    message.metadata.MergeFromString(stored.metadata)
    message.event.MergeFromString(stored.data)
    return message
