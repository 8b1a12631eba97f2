"""What the catalog wants of each flow, as the spec of a pump or the reason why there is none.

Derived, never stored: `effective` decides whether a flow may run, this file says how. Answers are
kept for as long as the catalog does not move.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from catalog.catalog import Catalog
from catalog.effective import Blocked, Runnable, effective

from router.domain.flow_spec import PARALLELISM_MAX, FlowSpec
from router.domain.spec_of_flow import spec_of


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedFlow:
    """An enabled flow that must not or cannot run. `reason` is a sentence for people.

    `instance` is the one that cannot run here while others may; None: the flow as a whole.
    """

    flow_id: str
    reason: str
    instance: int | None = None


Plan: TypeAlias = FlowSpec | BlockedFlow


class CatalogFeed(Protocol):
    """The registry's log as a catalog that changes; `catalog.follow.CatalogFollower` is one."""

    @property
    def catalog(self) -> Catalog:
        """The catalog as it is now."""
        ...

    def changes(self) -> AsyncIterator[int]:
        """Yields the position after each applied batch, coalesced; never ends."""
        ...


class FlowPlans:
    """The plans of all enabled flows at the catalog's present position.

    Until `is_complete` says that the log was read up to its head once, no flow is enabled: one that
    the rest of the log disables must not run for a moment.
    """

    def __init__(
        self, feed: CatalogFeed, *, group_prefix: str, is_complete: Callable[[], bool]
    ) -> None:
        self._feed = feed
        self._group_prefix = group_prefix
        self._is_complete = is_complete
        self._at: tuple[int, int] | None = None
        self._plans: dict[str, Plan] = {}

    def enabled(self) -> tuple[str, ...]:
        """Ids of the enabled flows."""
        return self._feed.catalog.enabled_flow_ids() if self._is_complete() else ()

    def instances(self, flow_id: str) -> int:
        """How many instances the flow wants; 0 for one that is not enabled."""
        flow = self._feed.catalog.flow(flow_id)
        if flow is None or flow.settings is None:
            return 0
        delivery = flow.settings.delivery
        wanted = 1 if delivery is None else delivery.parallelism
        return min(max(wanted, 1), PARALLELISM_MAX)

    def is_known(self, flow_id: str) -> bool:
        """Does the flow exist, enabled or not?"""
        return self._feed.catalog.flow(flow_id) is not None

    def plan(self, flow_id: str) -> Plan | None:
        """How the flow shall run, or why not; None for one that is not enabled."""
        catalog = self._feed.catalog
        flow = catalog.flow(flow_id)
        if flow is None or flow.settings is None:
            return None
        at = (id(catalog), catalog.position)
        if at != self._at:
            self._at, self._plans = at, {}
        plan = self._plans.get(flow_id)
        if plan is None:
            plan = self._plans[flow_id] = _plan(catalog, flow_id, self._group_prefix)
        return plan

    async def changes(self) -> AsyncIterator[int]:
        """Yields after each change of the catalog; never ends."""
        async for position in self._feed.changes():
            yield position


def _plan(catalog: Catalog, flow_id: str, group_prefix: str) -> Plan:
    match effective(catalog, flow_id):
        case Blocked() as blocked:
            return BlockedFlow(flow_id=flow_id, reason=blocked.sentence)
        case Runnable() as runnable:
            try:
                return spec_of(runnable, group_prefix=group_prefix, position=catalog.position)
            except ValueError as error:
                return BlockedFlow(flow_id=flow_id, reason=f"its settings cannot run: {error}")
