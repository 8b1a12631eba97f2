"""Does a flow close a circle of flows that were enabled before it?

Nodes are topics and algorithms. A subscriber flow is an edge from its topic to its algorithm, and
to its dead letter topic where it has one; a publisher flow from its algorithm to its topic; a chain
flow from algorithm to algorithm. Flows count in the order in which they were enabled: each closes a
circle, or not, over those before it that may run and close none themselves (or are allowed to). So
the last one of a circle is blocked, the others run, and everybody who reads the same log agrees.

The walk visits only what can be reached from the flow's far end. Where that does not lead back to
the near end (nearly always) it ends there; else the flows of the candidate circle are judged one
after the other, which costs the square of their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from catalog.catalog import Catalog
from catalog.events import BrokerKind, FlowKind
from catalog.records import Flow

Node: TypeAlias = tuple[str, str]
"""(connection id, topic), or ("", algorithm id)."""

Path: TypeAlias = tuple[Node, ...]


def closed_path(catalog: Catalog, flow: Flow, *, may_run: Callable[[Flow], bool]) -> Path | None:
    """The nodes of a circle that this enabled flow closes, its near end first and last; or None.

    `may_run` says of another enabled flow whether it is runnable, cycles apart. It does not matter
    here whether `flow` itself may close a circle.
    """
    start = _near_end(flow)
    if start is None:
        return None
    edges, seen = _reachable(catalog, flow, may_run)
    if start not in seen:
        return None
    counted: dict[Node, list[Flow]] = {}
    for other in _leading_to(start, edges):
        near = _near_end(other)
        if near is None:
            continue
        settings = other.settings
        allowed = settings is not None and settings.allow_cycle
        if allowed or _path(counted, _far_ends(other), near) is None:
            counted.setdefault(near, []).append(other)
    path = _path(counted, _far_ends(flow), start)
    return None if path is None else (start, *path)


def _near_end(flow: Flow) -> Node | None:
    """Where the flow takes its records from; None for a queue, which is no node."""
    if flow.kind is not FlowKind.SUBSCRIBER:
        return "", flow.algorithm_id
    if flow.channel is None or flow.channel.broker is not BrokerKind.KAFKA:
        return None
    return flow.channel.connection_id, flow.channel.name


def _far_ends(flow: Flow) -> tuple[Node, ...]:
    """Where the flow's records go: its target, then its dead letter topic."""
    ends: list[Node] = []
    channel = flow.channel
    if flow.kind is FlowKind.SUBSCRIBER:
        ends.append(("", flow.algorithm_id))
    elif flow.kind is FlowKind.CHAIN:
        ends.append(("", flow.target_algorithm_id))
    elif channel is not None and channel.broker is BrokerKind.KAFKA:
        ends.append((channel.connection_id, channel.name))
    if flow.settings is not None and flow.settings.dead_letter_topic and channel is not None:
        ends.append((channel.connection_id, flow.settings.dead_letter_topic))
    return tuple(ends)


def _reachable(
    catalog: Catalog, flow: Flow, may_run: Callable[[Flow], bool]
) -> tuple[list[Flow], set[Node]]:
    """Runnable flows enabled before `flow` that its records can come to, and their nodes."""
    seen = set(_far_ends(flow))
    waiting = list(seen)
    edges = []
    while waiting:
        connection_id, name = waiting.pop()
        leaving = (
            catalog.enabled_readers(connection_id, name)
            if connection_id
            else catalog.enabled_followers(name)
        )
        for other in leaving:
            if other.enabled_position >= flow.enabled_position or not may_run(other):
                continue
            edges.append(other)
            new = [node for node in _far_ends(other) if node not in seen]
            seen.update(new)
            waiting.extend(new)
    return edges, seen


def _leading_to(goal: Node, edges: Iterable[Flow]) -> list[Flow]:
    """Those of `edges` over which `goal` can be reached, by `enabled_position`.

    Together with the reachability of all `edges` from the goal's own flow this is the strongly
    connected part around it, and so holds every circle that decides about one of its flows.
    """
    arriving: dict[Node, list[Flow]] = {}
    for flow in edges:
        for node in _far_ends(flow):
            arriving.setdefault(node, []).append(flow)
    seen = {goal}
    waiting = [goal]
    found: dict[str, Flow] = {}
    while waiting:
        for flow in arriving.get(waiting.pop(), ()):
            found[flow.flow_id] = flow
            near = _near_end(flow)
            if near is not None and near not in seen:
                seen.add(near)
                waiting.append(near)
    return sorted(found.values(), key=lambda flow: flow.enabled_position)


def _path(counted: dict[Node, list[Flow]], starts: tuple[Node, ...], goal: Node) -> Path | None:
    """Shortest way from any of `starts` to `goal` over the counted flows, both ends included."""
    before: dict[Node, Node | None] = dict.fromkeys(starts)
    waiting = deque(before)
    while waiting:
        node = waiting.popleft()
        if node == goal:
            return _walk_back(before, node)
        for flow in counted.get(node, ()):
            for following in _far_ends(flow):
                if following not in before:
                    before[following] = node
                    waiting.append(following)
    return None


def _walk_back(before: dict[Node, Node | None], last: Node) -> Path:
    path = [last]
    while (earlier := before[path[-1]]) is not None:
        path.append(earlier)
    return tuple(reversed(path))
