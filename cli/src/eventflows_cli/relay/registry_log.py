"""The log as the relay reads it: over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc.aio
from catalog import snapshot
from catalog.catalog import Catalog
from catalog.codec import recorded_from_message
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import EventflowsError, StateForbids, Unavailable
from servicekit.rpc import error_from_status, raise_from_status

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub

CALL_TIMEOUT_S = 15.0
CATALOG_TIMEOUT_S = 120.0
SILENCE_MAX_S = 10.0
"""The registry sends a heartbeat every half second; after this long it is taken for dead."""


class RegistryLog:
    """`relay.Log` over the registry's gRPC. Holds nothing."""

    def __init__(self, registry: RegistryAsyncStub) -> None:
        self._registry = registry

    async def catalog_at(self, position: int) -> Catalog:
        """Restored from the registry's snapshot; replayed when it folds in another way."""
        request = pb.ReadCatalogRequest(as_of=pb.AsOf(position=position), fold=snapshot.FOLD)
        try:
            async with asyncio.timeout(CATALOG_TIMEOUT_S):
                parts = [part.data async for part in self._registry.ReadCatalog(request)]
        except TimeoutError as error:
            raise Unavailable("the registry did not send its catalog in time") from error
        except grpc.aio.AioRpcError as error:
            failure = error_from_status(error)
            if isinstance(failure, StateForbids):
                return await self._replayed(position)
            raise failure from error
        return snapshot.restore(parts)

    async def event(self, position: int) -> events_pb2.RecordedEvent | None:
        """One event; None beyond the head."""
        request = pb.ReadLogRequest(after_position=position - 1, limit=1)
        try:
            head = await self._registry.GetHead(pb.GetHeadRequest(), timeout=CALL_TIMEOUT_S)
            if head.position < position:
                return None
            page = await self._registry.ReadLog(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise_from_status(error)
        return page.events[0] if page.events else None

    async def batches(self, after: int) -> AsyncIterator[pb.WatchBatch]:
        """One `Watch` until it breaks; a gap breaks it too."""
        call = self._registry.Watch(pb.WatchRequest(after_position=after))
        position = after
        try:
            while True:
                async with asyncio.timeout(SILENCE_MAX_S):
                    batch = await call.read()
                if not isinstance(batch, pb.WatchBatch):
                    raise Unavailable("the registry ended the stream")
                if batch.from_position != position:
                    raise EventflowsError(
                        f"the registry sent a batch after {batch.from_position}, not {position}"
                    )
                position = batch.to_position
                yield batch
        except TimeoutError as error:
            raise Unavailable("the registry is silent") from error
        except grpc.aio.AioRpcError as error:
            raise_from_status(error)
        finally:
            call.cancel()

    async def _replayed(self, position: int) -> Catalog:
        catalog = Catalog()
        async with aclosing(self.batches(0)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                for event in batch.events:
                    if event.position > position:
                        return catalog
                    catalog.apply(recorded_from_message(event))
                if catalog.position >= position:
                    return catalog
        raise Unavailable("the registry ended the stream")
