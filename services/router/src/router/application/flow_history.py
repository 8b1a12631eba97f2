"""What a flow asked for and when, by the newest that this worker knows of the registry's log."""

from __future__ import annotations

from typing import Final, Protocol

from catalog.catalog import Catalog
from catalog.records import FlowChange

REACH_MAX_S: Final = 5.0
"""How long a reader waits for our catalog to know what a completion was made by."""


class CatalogSoFar(Protocol):
    """The registry's log as far as we know it; `catalog.follow.CatalogFollower` is one."""

    @property
    def catalog(self) -> Catalog:
        """The catalog as it is now."""
        ...

    async def wait_for(self, position: int, *, timeout_s: float) -> None:
        """Return once everything up to `position` is applied. Raises TimedOut."""
        ...


class CatalogFlowHistory:
    """Port `FlowHistory` over the catalog. A flow that is gone keeps its last known history."""

    def __init__(self, feed: CatalogSoFar, *, flow_id: str) -> None:
        self._feed = feed
        self._flow_id = flow_id
        self._changes: tuple[FlowChange, ...] = ()

    async def reach(self, position: int) -> None:
        """Return once the log is known up to `position`. Raises TimedOut after REACH_MAX_S."""
        if self._feed.catalog.position < position:
            await self._feed.wait_for(position, timeout_s=REACH_MAX_S)

    def changes(self) -> tuple[FlowChange, ...]:
        """Oldest first."""
        flow = self._feed.catalog.flow(self._flow_id)
        if flow is not None:
            self._changes = flow.changes
        return self._changes
