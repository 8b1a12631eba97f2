"""What stands once the worker has started stays, so the garbage collector need not walk it again.

Faust, gRPC and the catalog are some 120,000 objects. Each full collection walked them all: 0.1 s in
which nothing moved, about once in a second at full speed, and a fifth of the worker's CPU
(measured with `router.publish`). Price: a cycle that is garbage by then is never freed; one
collection before sees to that.
"""

from __future__ import annotations

import asyncio
import gc


class StartHeap:
    """Part of the worker. `started` says that what it needs for good is in memory."""

    def __init__(self, started: asyncio.Event) -> None:
        self._started = started

    async def run(self) -> None:
        """Wait for the start, spare what stands then, and end."""
        await self._started.wait()
        gc.collect()
        gc.freeze()
