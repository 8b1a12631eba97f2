"""`ReadCatalog`: a whole catalog as snapshot parts, for followers that start and for the past."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Final

import grpc.aio
from catalog import snapshot
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import Overloaded, StateForbids, TimedOut

from registry.application.catalog_dumps import CatalogDumps
from registry.application.moments import Moment, Moments
from registry.entrypoints.as_of import as_of_from, moment_message
from registry.ports.snapshots import Snapshots

READERS_MAX: Final = 100
PART_TIMEOUT_S: Final = 30.0
"""For a reader to take one part; one that does not is let go, and may read the log by pages."""
RETRY_AFTER_S: Final = 2.0

Context = grpc.aio.ServicerContext[Any, Any]


class CatalogRpc:
    """Any number of readers up to READERS_MAX, each with one part of its own in memory."""

    def __init__(
        self, *, moments: Moments, snapshots: Snapshots, part_timeout_s: float = PART_TIMEOUT_S
    ) -> None:
        self._moments = moments
        self._snapshots = snapshots
        self._dumps = CatalogDumps(moments)
        self._part_timeout_s = part_timeout_s
        self._readers = 0

    async def ReadCatalog(self, request: pb.ReadCatalogRequest, context: Context) -> None:  # noqa: N802
        if request.fold != snapshot.FOLD:
            raise StateForbids(
                f"this registry's catalogs are of the fold {snapshot.FOLD}: replay the log by "
                "Watch",
                code=snapshot.CODE_OTHER_FOLD,
            )
        as_of = as_of_from(request.as_of)
        if self._readers >= READERS_MAX:
            raise Overloaded("too many readers of catalogs", retry_after_s=RETRY_AFTER_S)
        self._readers += 1
        try:
            if as_of is None and await self._write_newest(context):
                return
            moment = await self._moments.resolve(as_of)
            async with self._dumps.at(moment) as parts:
                await self._write(context, moment, _each(parts))
        finally:
            self._readers -= 1

    async def _write_newest(self, context: Context) -> bool:
        """The newest kept snapshot, straight from where it is kept; False when there is none."""
        kept = await self._snapshots.newest(fold=snapshot.FOLD)
        if kept is None:
            return False
        moment = await self._moments.resolve(kept.position)
        await self._write(context, moment, self._snapshots.read(kept))
        return True

    async def _write(self, context: Context, moment: Moment, parts: AsyncIterator[bytes]) -> None:
        first: pb.Moment | None = moment_message(moment)
        async with aclosing(parts) as readable:  # type: ignore[type-var]
            async for part in readable:
                await self._give(context, pb.CatalogPart(moment=first, data=part))
                first = None

    async def _give(self, context: Context, part: pb.CatalogPart) -> None:
        try:
            async with asyncio.timeout(self._part_timeout_s):
                await context.write(part)
        except TimeoutError as error:
            raise TimedOut("the catalog is not being read: ask again, or replay the log") from error


async def _each(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
