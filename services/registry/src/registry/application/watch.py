"""The log as a stream of pages: first what was missed, then what comes, heartbeats in between.

A watcher is a position; nothing is queued for it, so a slow one costs one page of memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from kernel.errors import EventflowsError, StateForbids, Unavailable

from registry.application.log_head import LogHead
from registry.ports.event_store import EventStore, StoredEvent

PAGE_EVENTS_MAX = 1_000
PAGE_BYTES_MAX = 256 * 1024
HEARTBEAT_S = 0.5
RETRY_S = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Events (from..to], or a heartbeat: none, and all three positions equal."""

    from_position: int
    to_position: int
    head_position: int
    events: Sequence[StoredEvent] = ()


async def watch(store: EventStore, head: LogHead, after: int) -> AsyncIterator[Page]:
    """Pages without gaps from `after` on, until the head is closed.

    At the end of the log a heartbeat comes at once and then every HEARTBEAT_S, as long as the log
    can be reached; while it cannot, nothing comes. Raises StateForbids when the log ends before
    `after`.
    """
    newest = (await store.head()).position
    head.advance(newest)
    if after > newest:
        raise StateForbids(
            f"the log ends at {newest}, before position {after}: it is another log, start from 0"
        )
    position = after
    patience_s = 0.0
    while not head.closed:
        if await head.beyond(position, timeout_s=patience_s):
            page = await _page(store, position)
            if page is None:
                continue
            yield Page(
                from_position=position,
                to_position=page[-1].position,
                head_position=max(head.position, page[-1].position),
                events=page,
            )
            position = page[-1].position
            patience_s = 0.0
        else:
            patience_s = HEARTBEAT_S
            if head.is_confirmed() and not head.closed:
                yield Page(from_position=position, to_position=position, head_position=position)


async def _page(store: EventStore, position: int) -> Sequence[StoredEvent] | None:
    """The next page; None when the log cannot be reached now."""
    try:
        page = await store.read(position, limit=PAGE_EVENTS_MAX, bytes_max=PAGE_BYTES_MAX)
    except Unavailable as error:
        _log.warning("a watcher waits for the log", extra={"why": str(error)})
        await asyncio.sleep(RETRY_S)
        return None
    if not page or page[0].position != position + 1:
        raise EventflowsError(f"the log has a hole after position {position}: verify it")
    return page
