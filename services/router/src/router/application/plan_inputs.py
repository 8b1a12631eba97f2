"""What each plan was derived from, so that a change is answered by the plans that it touches.

`effective` looks at a flow, at what stands at its ends, and, where the flow may close a circle, at
other flows and what stands at theirs. It is given a catalog that notes what is looked at; records
never change but are replaced, so what changed is found by comparing records with those of the last
look, by identity. Price: a look compares every record (some 2 ms at 10,000 flows), and memory for
what each plan has looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias, TypeVar, cast

from catalog.catalog import Catalog
from catalog.events import ApiType
from catalog.flow_index import FlowGroups
from catalog.records import Algorithm, Connection, Flow

Input: TypeAlias = tuple[str, ...]
"""A kind and an id: what a plan was derived from."""

_FLOW: Final = "flow"
_ALGORITHM: Final = "algorithm"
_CONNECTION: Final = "connection"
_ACCESS: Final = "access"
_READERS: Final = "readers"
_FOLLOWERS: Final = "followers"

R = TypeVar("R")
K = TypeVar("K")


class NotingCatalog:
    """The look-ups that `catalog.effective` makes, no others: one more has to be noted here."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._inputs: dict[Input, None] = {}

    @property
    def as_catalog(self) -> Catalog:
        """This, where a Catalog is asked for."""
        return cast("Catalog", self)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Everything that was looked at."""
        return tuple(self._inputs)

    def flow(self, flow_id: str) -> Flow | None:
        self._inputs[_FLOW, flow_id] = None
        return self._catalog.flow(flow_id)

    def algorithm(self, algorithm_id: str) -> Algorithm | None:
        self._inputs[_ALGORITHM, algorithm_id] = None
        return self._catalog.algorithm(algorithm_id)

    def connection(self, connection_id: str) -> Connection | None:
        self._inputs[_CONNECTION, connection_id] = None
        return self._catalog.connection(connection_id)

    def deleted_connection_name(self, connection_id: str) -> str | None:
        self._inputs[_CONNECTION, connection_id] = None
        return self._catalog.deleted_connection_name(connection_id)

    def is_granted(
        self, *, connection_id: str, topic: str, algorithm_id: str, api_type: ApiType
    ) -> bool:
        self._inputs[_ACCESS, connection_id, topic] = None
        return self._catalog.is_granted(
            connection_id=connection_id, topic=topic, algorithm_id=algorithm_id, api_type=api_type
        )

    def enabled_readers(self, connection_id: str, topic: str) -> tuple[Flow, ...]:
        self._inputs[_READERS, connection_id, topic] = None
        return self._noted(self._catalog.enabled_readers(connection_id, topic))

    def enabled_followers(self, algorithm_id: str) -> tuple[Flow, ...]:
        self._inputs[_FOLLOWERS, algorithm_id] = None
        return self._noted(self._catalog.enabled_followers(algorithm_id))

    def _noted(self, flows: tuple[Flow, ...]) -> tuple[Flow, ...]:
        for flow in flows:  # one that leaves the group is seen as a flow that changed
            self._inputs[_FLOW, flow.flow_id] = None
        return flows


class PlanInputs:
    """Who was derived from what. For one event loop."""

    def __init__(self) -> None:
        self._flows: dict[str, Flow] = {}
        self._algorithms: dict[str, Algorithm] = {}
        self._connections: dict[str, Connection] = {}
        self._accesses: dict[tuple[str, str], object] = {}
        self._users: FlowGroups[Input] = FlowGroups()
        self._inputs: dict[str, tuple[Input, ...]] = {}

    def used(self, flow_id: str, inputs: tuple[Input, ...]) -> None:
        """The flow's plan was derived from these, in place of those before."""
        self.forget(flow_id)
        self._inputs[flow_id] = inputs
        for one in inputs:
            self._users.join(one, flow_id)

    def forget(self, flow_id: str) -> None:
        """Nobody wants to know any more whether the flow's plan is still right."""
        for one in self._inputs.pop(flow_id, ()):
            self._users.leave(one, flow_id)

    def look(self, catalog: Catalog) -> set[str]:
        """Flows that changed since the last look, or whose plan was derived from what did."""
        flows = {flow.flow_id: flow for flow in catalog.flows()}
        algorithms = {one.algorithm_id: one for one in catalog.algorithms()}
        connections = {one.connection_id: one for one in catalog.connections()}
        accesses = {(one.connection_id, one.topic): one for one in catalog.topic_accesses()}
        touched: set[str] = set()
        for flow_id in _changed(self._flows, flows):
            touched.add(flow_id)
            touched.update(self._users.members((_FLOW, flow_id)))
            for group in _groups(flows.get(flow_id)):
                touched.update(self._users.members(group))
        changed: Iterable[Input] = (
            *((_ALGORITHM, one) for one in _changed(self._algorithms, algorithms)),
            *((_CONNECTION, one) for one in _changed(self._connections, connections)),
            *((_ACCESS, *one) for one in _changed(self._accesses, accesses)),
        )
        for one in changed:
            touched.update(self._users.members(one))
        self._flows, self._algorithms = flows, algorithms
        self._connections, self._accesses = connections, dict(accesses)
        return touched


def _changed(before: Mapping[K, R], now: Mapping[K, R]) -> Iterator[K]:
    for key, record in now.items():
        if before.get(key) is not record:
            yield key
    yield from before.keys() - now.keys()


def _groups(flow: Flow | None) -> Iterator[Input]:
    """The groups that the flow may have joined."""
    if flow is None:
        return
    yield _FOLLOWERS, flow.algorithm_id
    if flow.channel is not None:
        yield _READERS, flow.channel.connection_id, flow.channel.name
