"""Work and rests that end early when a stop, or another thing, is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from kernel.errors import EventflowsError

from router.ports import Clock


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


async def rest(delay_s: float, *, until: asyncio.Event, clock: Clock) -> None:
    """Return after that time, or as soon as the event is set."""
    sleeping = asyncio.ensure_future(clock.sleep(delay_s))
    waiting = asyncio.ensure_future(until.wait())
    try:
        await asyncio.wait({sleeping, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeping.cancel()
        waiting.cancel()
