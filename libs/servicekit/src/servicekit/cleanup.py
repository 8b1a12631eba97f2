"""Cleanup that nobody breaks off: what it leaves undone would be left for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What the work gives, or raises. It has to bound its own time.

    In a task of its own: whoever waits for it may be cancelled, any number of times, and raises
    CancelledError only when it has ended. The end of the event loop does break it off.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result
