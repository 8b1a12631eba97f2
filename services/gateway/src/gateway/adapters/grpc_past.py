"""The past by gRPC: the registry resolves and folds, here its snapshot is restored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
from catalog import snapshot
from catalog.catalog import Catalog
from catalog.errors import SnapshotUnusable
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from kernel.errors import InvalidInput, NotFound, StateForbids, TooLarge, Unavailable

from gateway.adapters.calls import kernel_errors
from gateway.application.moment_messages import as_of_message, moment_of
from gateway.domain.moment import AsOf, Moment

READ_TIMEOUT_S = 55.0
UNREACHABLE = "the past cannot be read while the registry cannot be reached: try again later"
NOT_WHOLE = "the catalog that the registry sent is not whole: try again"
OTHER_BUILD = (
    "the gateway and the registry are of different builds, so the past cannot be read: try again "
    "when the upgrade is done"
)


class GrpcPast:
    """Port `Past`. One channel, a stream for each question."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = registry_pb2_grpc.RegistryStub(channel)

    @asynccontextmanager
    async def at(self, as_of: AsOf) -> AsyncIterator[_Read]:
        """A moment that the registry does not have is InvalidInput, whatever its reason."""
        request = registry_pb2.ReadCatalogRequest(as_of=as_of_message(as_of), fold=snapshot.FOLD)
        call = self._stub.ReadCatalog(request, timeout=READ_TIMEOUT_S)
        parts = aiter(call)
        try:
            yield _Read(await _first(parts), parts)
        finally:
            call.cancel()


class _Read:
    """Port `PastRead`: the stream after its first part came."""

    def __init__(
        self,
        first: registry_pb2.CatalogPart,
        rest: AsyncIterator[registry_pb2.CatalogPart],
    ) -> None:
        self._first = first
        self._rest = rest

    @property
    def moment(self) -> Moment:
        return moment_of(self._first.moment)

    async def restored(self) -> Catalog:
        parts, size_bytes = [self._first.data], len(self._first.data)
        with kernel_errors(unreachable=UNREACHABLE):
            async for part in self._rest:
                parts.append(part.data)
                size_bytes += len(part.data)
                if size_bytes > snapshot.SNAPSHOT_BYTES_MAX:
                    raise TooLarge("the catalog is too large to be read whole: use the log's diff")
        try:
            # A second of work at 100,000 flows: other requests go on meanwhile.
            return await asyncio.to_thread(snapshot.restore, parts)
        except SnapshotUnusable as error:
            raise Unavailable(NOT_WHOLE) from error


async def _first(parts: AsyncIterator[registry_pb2.CatalogPart]) -> registry_pb2.CatalogPart:
    """Raises InvalidInput with the registry's sentence for a moment that it does not have."""
    try:
        with kernel_errors(unreachable=UNREACHABLE):
            return await anext(parts)
    except StopAsyncIteration as error:
        raise Unavailable(UNREACHABLE) from error
    except (NotFound, StateForbids) as error:
        if error.code == snapshot.CODE_OTHER_FOLD:
            raise Unavailable(OTHER_BUILD) from error
        raise InvalidInput(error.message) from error
