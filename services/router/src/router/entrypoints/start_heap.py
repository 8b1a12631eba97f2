"""What stands once the worker has started stays, so the garbage collector need not walk it again.

Faust, gRPC and the catalog are some 120,000 objects. Each full collection walked them all: 0.1 s in
which nothing moved, about once in a second at full speed, and a fifth of the worker's CPU
(measured with `router.publish`). And the young are looked at seldom: nearly all of them are freed
without that. Price: a cycle that is garbage by then is never freed, one collection before sees to
that; a later one waits for so many new objects.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

YOUNG_OBJECTS_MAX: Final = 20_000
"""So many new objects have the collector look for cycles among them. Python's 700 are those of 140
records, and a flow holds thousands for a moment: each was walked three times (1.5 of 27 µs, without
Kafka; 0.3 so)."""


class StartHeap:
    """Part of the worker. `started` says that what it needs for good is in memory."""

    def __init__(self, started: asyncio.Event) -> None:
        self._started = started

    async def run(self) -> None:
        """Wait for the start, spare what stands then, and end."""
        await self._started.wait()
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS_MAX)
