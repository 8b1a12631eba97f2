"""All flows, found by id, by algorithm, by owner, and by what an enabled one reads or follows.

Every look-up is one dict access; every list is in a stable order (that of the log). The price is
memory: each flow stands in up to five dicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from catalog.events import BrokerKind, FlowKind
from catalog.records import Flow

K = TypeVar("K")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowImage:
    """All that the index holds. The groups have ids of flows, each in the order of joining."""

    flows: dict[str, Flow]
    enabled: tuple[str, ...]
    of_algorithm: dict[str, tuple[str, ...]]
    listeners: dict[str, tuple[str, ...]]
    readers: dict[tuple[str, str], tuple[str, ...]]
    followers: dict[str, tuple[str, ...]]


class FlowGroups(Generic[K]):
    """Ids (of flows, say) in groups, each in the order of joining. A group of one is kept as a bare
    string, since most are (a dict of one takes 230 bytes)."""

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups: dict[K, str | dict[str, None]] = {}

    @classmethod
    def of(cls, image: dict[K, tuple[str, ...]]) -> Self:
        """The groups with these members."""
        groups = cls()
        groups._groups = {
            key: ids[0] if len(ids) == 1 else dict.fromkeys(ids) for key, ids in image.items()
        }
        return groups

    def image(self) -> dict[K, tuple[str, ...]]:
        """The members of each group, in their order."""
        return {
            key: (found,) if isinstance(found, str) else tuple(found)
            for key, found in self._groups.items()
        }

    def __contains__(self, key: K) -> bool:
        return key in self._groups

    def members(self, key: K) -> Iterator[str]:
        """Flow ids of one group; none for a group that nobody joined."""
        found = self._groups.get(key)
        if found is None:
            return iter(())
        return iter((found,)) if isinstance(found, str) else iter(found)

    def join(self, key: K, flow_id: str) -> None:
        """A member once is a member: joining again keeps its place."""
        found = self._groups.get(key)
        if found is None:
            self._groups[key] = flow_id
        elif isinstance(found, dict):
            found[flow_id] = None
        elif found != flow_id:
            self._groups[key] = {found: None, flow_id: None}

    def leave(self, key: K, flow_id: str) -> None:
        """Leaving a group twice is harmless."""
        found = self._groups.get(key)
        if found == flow_id:
            del self._groups[key]
        elif isinstance(found, dict):
            found.pop(flow_id, None)
            if not found:
                del self._groups[key]


class FlowIndex:
    """The flows of the catalog."""

    def __init__(self) -> None:
        self._flows: dict[str, Flow] = {}
        self._enabled: dict[str, None] = {}
        self._of_algorithm: FlowGroups[str] = FlowGroups()
        self._listeners: FlowGroups[str] = FlowGroups()
        self._readers: FlowGroups[tuple[str, str]] = FlowGroups()
        self._followers: FlowGroups[str] = FlowGroups()

    @classmethod
    def of(cls, image: FlowImage) -> Self:
        """The index that had this image. The image must not be used any more."""
        index = cls()
        index._flows = image.flows
        index._enabled = dict.fromkeys(image.enabled)
        index._of_algorithm = FlowGroups.of(image.of_algorithm)
        index._listeners = FlowGroups.of(image.listeners)
        index._readers = FlowGroups.of(image.readers)
        index._followers = FlowGroups.of(image.followers)
        return index

    def image(self) -> FlowImage:
        """A copy that later events do not change."""
        return FlowImage(
            flows=self._flows.copy(),
            enabled=tuple(self._enabled),
            of_algorithm=self._of_algorithm.image(),
            listeners=self._listeners.image(),
            readers=self._readers.image(),
            followers=self._followers.image(),
        )

    def get(self, flow_id: str) -> Flow | None:
        """The flow, or None."""
        return self._flows.get(flow_id)

    def all(self) -> tuple[Flow, ...]:
        """Every flow, in the order in which the log first told of it."""
        return tuple(self._flows.values())

    def of_algorithm(self, algorithm_id: str) -> tuple[Flow, ...]:
        """The flows that run this algorithm or follow its completions."""
        return self._pick(self._of_algorithm.members(algorithm_id))

    def listeners_of(self, account_id: str) -> tuple[Flow, ...]:
        """The account's flows on queues."""
        return self._pick(self._listeners.members(account_id))

    def enabled_ids(self) -> tuple[str, ...]:
        """Ids of the enabled flows, the one that was enabled first first."""
        return tuple(self._enabled)

    def reading(self, connection_id: str, topic: str) -> tuple[Flow, ...]:
        """Enabled subscriber flows of a Kafka topic."""
        return self._pick(self._readers.members((connection_id, topic)))

    def following(self, algorithm_id: str) -> tuple[Flow, ...]:
        """Enabled publisher and chain flows that take this algorithm's completions."""
        return self._pick(self._followers.members(algorithm_id))

    def is_followed(self, algorithm_id: str) -> bool:
        """Does any enabled publisher or chain flow take this algorithm's completions?"""
        return algorithm_id in self._followers

    def put(self, flow: Flow) -> None:
        """Add the flow, or put it in the place of the record with its id."""
        old = self._flows.get(flow.flow_id)
        self._flows[flow.flow_id] = flow
        if old is not None:
            if _are_listed_alike(old, flow):
                return
            self._unlist(old, keep=flow)
        self._list(flow)

    def drop(self, flow_id: str) -> None:
        """Remove the flow; harmless when there is none."""
        old = self._flows.pop(flow_id, None)
        if old is not None:
            self._unlist(old, keep=None)

    def _pick(self, flow_ids: Iterable[str]) -> tuple[Flow, ...]:
        return tuple(self._flows[flow_id] for flow_id in flow_ids)

    def _list(self, flow: Flow) -> None:
        for algorithm_id in _algorithms(flow):
            self._of_algorithm.join(algorithm_id, flow.flow_id)
        if owner := _listener_owner(flow):
            self._listeners.join(owner, flow.flow_id)
        if topic := _topic_read(flow):
            self._readers.join(topic, flow.flow_id)
        if followed := _algorithm_followed(flow):
            self._followers.join(followed, flow.flow_id)
        if flow.settings is not None:
            self._enabled[flow.flow_id] = None

    def _unlist(self, old: Flow, *, keep: Flow | None) -> None:
        """Leave the groups of `old` that are not also groups of `keep`: those keep their order."""
        for algorithm_id in set(_algorithms(old)) - set(_algorithms(keep)):
            self._of_algorithm.leave(algorithm_id, old.flow_id)
        owner, topic, followed = _listener_owner(old), _topic_read(old), _algorithm_followed(old)
        if owner and owner != _listener_owner(keep):
            self._listeners.leave(owner, old.flow_id)
        if topic and topic != _topic_read(keep):
            self._readers.leave(topic, old.flow_id)
        if followed and followed != _algorithm_followed(keep):
            self._followers.leave(followed, old.flow_id)
        if keep is None or keep.settings is None:
            self._enabled.pop(old.flow_id, None)


def _are_listed_alike(old: Flow, new: Flow) -> bool:
    """Is every group of one a group of the other? Most events of a log change settings only."""
    return (
        (old.settings is None) == (new.settings is None)
        and old.channel is new.channel
        and old.kind is new.kind
        and old.owner_id == new.owner_id
        and old.algorithm_id == new.algorithm_id
        and old.target_algorithm_id == new.target_algorithm_id
    )


def _algorithms(flow: Flow | None) -> tuple[str, ...]:
    if flow is None:
        return ()
    if flow.target_algorithm_id:
        return flow.algorithm_id, flow.target_algorithm_id
    return (flow.algorithm_id,)


def _listener_owner(flow: Flow | None) -> str | None:
    if flow is None or flow.channel is None or flow.channel.broker is BrokerKind.KAFKA:
        return None
    return flow.owner_id


def _topic_read(flow: Flow | None) -> tuple[str, str] | None:
    if flow is None or flow.settings is None or flow.kind is not FlowKind.SUBSCRIBER:
        return None
    if flow.channel is None or flow.channel.broker is not BrokerKind.KAFKA:
        return None
    return flow.channel.connection_id, flow.channel.name


def _algorithm_followed(flow: Flow | None) -> str | None:
    if flow is None or flow.settings is None or flow.kind is FlowKind.SUBSCRIBER:
        return None
    return flow.algorithm_id
