"""`Watch`: the log as a stream of batches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput, Overloaded, Unavailable

from registry.application.log_head import LogHead
from registry.application.log_pages import LogPages
from registry.application.metrics import RegistryMetrics
from registry.application.watch import watch
from registry.entrypoints.kinds import id_of, kind_of
from registry.ports.event_store import SELECTED_STREAMS_MAX, Selection

WATCHERS_MAX = 500
WATCHERS_RETRY_AFTER_S = 5.0

Context = grpc.aio.ServicerContext[Any, Any]


class WatchRpc:
    """Any number of watchers up to WATCHERS_MAX.

    `pages` are encoded already, so the answers are bytes: see `watch_handler`.
    """

    def __init__(self, *, pages: LogPages, head: LogHead, metrics: RegistryMetrics) -> None:
        self._pages = pages
        self._head = head
        self._metrics = metrics
        self._watchers = 0

    async def Watch(  # noqa: N802  gRPC's name
        self, request: pb.WatchRequest, _context: Context
    ) -> AsyncIterator[bytes]:
        if request.after_position < 0:
            raise InvalidInput("after_position must be 0 or more")
        selection = selection_of(request.kinds, request.stream_ids)
        if self._watchers >= WATCHERS_MAX:
            raise Overloaded("too many watchers", retry_after_s=WATCHERS_RETRY_AFTER_S)
        self._watchers += 1
        self._metrics.watchers.set(self._watchers)
        try:
            async for page in watch(self._pages, self._head, request.after_position, selection):
                batch = pb.WatchBatch(
                    from_position=page.from_position,
                    to_position=page.to_position,
                    head_position=page.head_position,
                )
                yield batch.SerializeToString() + page.encoded
        finally:
            self._watchers -= 1
            self._metrics.watchers.set(self._watchers)
        raise Unavailable("the registry is stopping: watch again after your last position")


def watch_handler(servicer: Any) -> Any:
    """The handler of `Watch`, whose batches are bytes already."""
    return grpc.unary_stream_rpc_method_handler(
        servicer.Watch,
        request_deserializer=pb.WatchRequest.FromString,
        response_serializer=bytes,
    )


def selection_of(kinds: Any, stream_ids: Any) -> Selection | None:
    """What a request selects; None: everything. Raises InvalidInput."""
    if not kinds and not stream_ids:
        return None
    if len(stream_ids) > SELECTED_STREAMS_MAX:
        raise InvalidInput(f"stream_ids: name at most {SELECTED_STREAMS_MAX}, or none and filter")
    return Selection(
        categories=frozenset(kind_of("kinds", number).name.lower() for number in kinds),
        stream_ids=frozenset(id_of("stream_ids", one) for one in stream_ids),
    )
