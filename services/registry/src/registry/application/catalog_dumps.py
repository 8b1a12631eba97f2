"""Catalogs of the past as parts, made once for all who read the same moment at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from catalog import snapshot
from kernel.errors import Overloaded

from registry.application.moments import Moment, Moments

AT_ONCE_MAX: Final = 2
"""Different moments whose parts are in memory."""
RETRY_AFTER_S: Final = 2.0


@dataclass(slots=True)
class _Dump:
    """Filled by its first reader, dropped by its last."""

    readers: int = 0
    parts: Sequence[bytes] | None = None
    making: asyncio.Lock = field(default_factory=asyncio.Lock)


class CatalogDumps:
    """The parts are shared, so a slow reader costs no memory of its own."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._dumps: dict[int, _Dump] = {}

    @asynccontextmanager
    async def at(self, moment: Moment) -> AsyncIterator[Sequence[bytes]]:
        """The parts of the catalog at a moment, for as long as they are read.

        Raises Overloaded when too many other moments are being read, and what `catalog_at` raises.
        """
        dump = self._dumps.get(moment.position)
        if dump is None:
            if len(self._dumps) >= AT_ONCE_MAX:
                raise Overloaded(
                    "catalogs of too many moments are being read: try again",
                    retry_after_s=RETRY_AFTER_S,
                )
            dump = self._dumps[moment.position] = _Dump()
        dump.readers += 1
        try:
            async with dump.making:
                if dump.parts is None:
                    catalog = await self._moments.catalog_at(moment)
                    dump.parts = await asyncio.to_thread(lambda: tuple(snapshot.dump(catalog)))
            yield dump.parts
        finally:
            dump.readers -= 1
            if not dump.readers:
                del self._dumps[moment.position]
