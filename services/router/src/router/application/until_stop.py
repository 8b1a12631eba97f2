"""Work that ends early when a stop is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from kernel.errors import EventflowsError


async def until_stop(
    work: Coroutine[Any, Any, None], stopping: asyncio.Event
) -> EventflowsError | None:
    """Do the work, or break it off when a stop is asked for. Returns an error of ours."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        stop.cancel()
        await asyncio.wait({task, stop})
    if task.cancelled():
        return None
    error = task.exception()
    if error is None or isinstance(error, EventflowsError):
        return error
    raise error
