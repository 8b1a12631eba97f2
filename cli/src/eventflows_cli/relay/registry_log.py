"""The log as the relay reads it: over gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from catalog import snapshot
from catalog.catalog import Catalog
from catalog.codec import recorded_from_message
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import EventflowsError, StateForbids, Unavailable

from eventflows_cli.calls import Calls
from eventflows_cli.follow import SILENCE_MAX_S

CATALOG_SILENCE_MAX_S: Final = 120.0
"""The registry may have to build the catalog of a past position first."""


class RegistryLog:
    """`relay.Log` over the registry's gRPC. Holds nothing."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def catalog_at(self, position: int) -> Catalog:
        """Restored from the registry's snapshot; replayed when it folds in another way."""
        request = pb.ReadCatalogRequest(as_of=pb.AsOf(position=position), fold=snapshot.FOLD)
        parts = self._calls.stream(
            self._calls.stub.ReadCatalog, request, silence_max_s=CATALOG_SILENCE_MAX_S
        )
        try:
            return snapshot.restore([part.data async for part in parts])
        except StateForbids:
            return await self._replayed(position)

    async def event(self, position: int) -> events_pb2.RecordedEvent | None:
        """One event; None beyond the head."""
        head = await self._calls.ask(self._calls.stub.GetHead, pb.GetHeadRequest())
        if head.position < position:
            return None
        request = pb.ReadLogRequest(after_position=position - 1, to_position=position, limit=1)
        page = await self._calls.ask(self._calls.stub.ReadLog, request)
        return page.events[0] if page.events else None

    async def batches(self, after: int) -> AsyncGenerator[pb.WatchBatch, None]:
        """One `Watch` until it breaks; a gap breaks it too."""
        answers = self._calls.stream(
            self._calls.stub.Watch,
            pb.WatchRequest(after_position=after),
            silence_max_s=SILENCE_MAX_S,
        )
        async with aclosing(answers) as batches:
            async for batch in batches:
                if batch.from_position != after:
                    raise EventflowsError(
                        f"the registry sent a batch after {batch.from_position}, not {after}"
                    )
                after = batch.to_position
                yield batch
        raise Unavailable("the registry ended the stream")

    async def _replayed(self, position: int) -> Catalog:
        catalog = Catalog()
        async with aclosing(self.batches(0)) as batches:
            async for batch in batches:
                for event in batch.events:
                    if event.position > position:
                        return catalog
                    catalog.apply(recorded_from_message(event))
                if catalog.position >= position:
                    return catalog
        raise Unavailable("the registry ended the stream")
