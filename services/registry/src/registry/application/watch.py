"""The log as a stream of pages: first what was missed, then what comes, heartbeats in between.

A watcher is a position; nothing is queued for it, so a slow one costs one page of memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from kernel.errors import StateForbids, Unavailable

from registry.application.log_head import LogHead
from registry.application.log_pages import LogPages, Stretch
from registry.ports.event_store import Selection, StoredEvent

HEARTBEAT_S = 0.5
RETRY_S = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Positions (from..to] with their selected events, or a heartbeat: all positions equal.

    `encoded` are the events as bytes that go out. A page without events is no heartbeat while
    `from_position` < `to_position`: nothing in it was selected.
    """

    from_position: int
    to_position: int
    head_position: int
    events: Sequence[StoredEvent] = ()
    encoded: bytes = b""


async def watch(
    pages: LogPages, head: LogHead, after: int, selection: Selection | None = None
) -> AsyncIterator[Page]:
    """Pages without gaps from `after` on, until the head is closed; all events unless selected.

    At the end of the log a heartbeat comes at once and then every HEARTBEAT_S, as long as the log
    can be reached; while it cannot, nothing comes. Raises StateForbids when the log ends before
    `after`, or does not reach back to it.
    """
    newest = await pages.head()
    head.advance(newest)
    if after > newest:
        raise StateForbids(
            f"the log ends at {newest}, before position {after}: it is another log, start from 0"
        )
    position = after
    patience_s = 0.0
    while not head.closed:
        if await head.beyond(position, timeout_s=patience_s):
            stretch = await _next(pages, position, head.position, selection)
            if stretch is None:
                continue
            yield Page(
                from_position=position,
                to_position=stretch.to_position,
                head_position=max(head.position, stretch.to_position),
                events=stretch.events,
                encoded=stretch.encoded,
            )
            position = stretch.to_position
            patience_s = 0.0
        else:
            patience_s = HEARTBEAT_S
            if head.is_confirmed() and not head.closed:
                yield Page(from_position=position, to_position=position, head_position=position)


async def _next(
    pages: LogPages, position: int, to: int, selection: Selection | None
) -> Stretch | None:
    """What comes after `position`; None when the log cannot be reached now."""
    try:
        if selection is None:
            return await pages.after(position)
        return await pages.selected(position, to=to, selection=selection)
    except Unavailable as error:
        _log.warning("a watcher waits for the log", extra={"why": str(error)})
        await asyncio.sleep(RETRY_S)
        return None
