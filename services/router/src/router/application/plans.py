"""What the catalog wants of each flow, as the spec of a pump or the reason why there is none.

Derived, never stored: `effective` decides whether a flow may run, this file says how.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from catalog.catalog import Catalog
from catalog.effective import Blocked, Runnable, effective

from router.application.plan_inputs import NotingCatalog, PlanInputs
from router.domain.flow_spec import PARALLELISM_MAX, FlowSpec
from router.domain.run_mode import RunMode, Steering
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

    Plans that are *followed* are kept, and derived anew when something that they were derived from
    changes (`plan_inputs`); those of other flows are derived when somebody asks. Until
    `is_complete` says that the log was read up to its head once, no flow is enabled: one that the
    rest of the log disables must not run for a moment.
    """

    def __init__(
        self, feed: CatalogFeed, *, group_prefix: str, is_complete: Callable[[], bool]
    ) -> None:
        self._feed = feed
        self._group_prefix = group_prefix
        self._is_complete = is_complete
        self._at: tuple[int, int] | None = None
        self._inputs = PlanInputs()
        self._followed: dict[str, Plan] = {}
        self._untold: set[str] = set()

    def enabled(self) -> tuple[str, ...]:
        """Ids of the enabled flows, the one that was enabled first first."""
        return self._feed.catalog.enabled_flow_ids() if self._is_complete() else ()

    def instances(self, flow_id: str) -> int:
        """How many instances the flow wants; 0 for one that is not enabled."""
        flow = self._feed.catalog.flow(flow_id)
        if flow is None or flow.settings is None or not self._is_complete():
            return 0
        delivery = flow.settings.delivery
        wanted = 1 if delivery is None else delivery.parallelism
        return min(max(wanted, 1), PARALLELISM_MAX)

    def steering(self, flow_id: str) -> Steering:
        """Whether its owner paused the flow, and the last time that it was resumed."""
        flow = self._feed.catalog.flow(flow_id)
        if flow is None:
            return Steering()
        if flow.paused is None:
            return Steering(resumed_position=flow.resumed_position)
        return Steering(
            mode=RunMode.DRAINED if flow.paused.drain else RunMode.PAUSED,
            resumed_position=flow.resumed_position,
            reason=flow.paused.reason,
        )

    def is_known(self, flow_id: str) -> bool:
        """Does the flow exist, enabled or not?"""
        return self._feed.catalog.flow(flow_id) is not None

    def plan(self, flow_id: str) -> Plan | None:
        """How the flow shall run, or why not; None for one that is not enabled."""
        self._look()
        plan = self._followed.get(flow_id)
        return plan or self._derive(flow_id, self._feed.catalog)

    def follow(self, flow_id: str) -> Plan | None:
        """As `plan`; from now on `touched` names the flow when its plan may be another one."""
        self._look()
        plan = self._followed.get(flow_id)
        if plan is None:
            noting = NotingCatalog(self._feed.catalog)
            plan = self._derive(flow_id, noting.as_catalog)
            if plan is not None:
                self._followed[flow_id] = plan
                self._inputs.used(flow_id, noting.inputs)
        return plan

    def forget(self, flow_id: str) -> None:
        """The flow is not followed any more. Harmless twice."""
        self._followed.pop(flow_id, None)
        self._inputs.forget(flow_id)

    def touched(self) -> frozenset[str]:
        """Flows of which something may have changed since the last call, all of them at first.

        Of those that are not followed: whether they are enabled, and their instances.
        """
        if not self._is_complete():
            return frozenset()
        self._look()
        touched, self._untold = self._untold, set()
        return frozenset(touched)

    async def changes(self) -> AsyncIterator[int]:
        """Yields after each change of the catalog; never ends."""
        async for position in self._feed.changes():
            yield position

    def _look(self) -> None:
        """Forget what is not right any more since the catalog moved."""
        catalog = self._feed.catalog
        at = (id(catalog), catalog.position)
        if at == self._at:
            return
        self._at = at
        for flow_id in self._inputs.look(catalog):
            self._untold.add(flow_id)
            self.forget(flow_id)

    def _derive(self, flow_id: str, catalog: Catalog) -> Plan | None:
        flow = self._feed.catalog.flow(flow_id)
        if flow is None or flow.settings is None:
            return None
        position = self._feed.catalog.position
        match effective(catalog, flow_id):
            case Blocked() as blocked:
                return BlockedFlow(flow_id=flow_id, reason=blocked.sentence)
            case Runnable() as runnable:
                try:
                    return spec_of(runnable, group_prefix=self._group_prefix, position=position)
                except ValueError as error:
                    return BlockedFlow(flow_id=flow_id, reason=f"its settings cannot run: {error}")
