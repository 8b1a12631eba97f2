"""A kept plan is the plan that would be derived now, whatever happened to the configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

from catalog.catalog import Catalog
from catalog.events import ApiType
from hypothesis import given, settings
from hypothesis import strategies as st
from router.application.plans import FlowPlans, Plan
from router.domain.flow_spec import FlowSpec, same_flow

from tests.support.event_log import EventLog, flow_id_of, id_of

ALGORITHMS = ("acme/a", "acme/b")
CONNECTIONS = ("one",)
TOPICS = ("x", "y")
"""So few that circles are closed and broken all the time."""

algorithms = st.sampled_from(ALGORITHMS)
connections = st.sampled_from(CONNECTIONS)
topics = st.sampled_from(TOPICS)
api_types = st.sampled_from([ApiType.SUBSCRIBER, ApiType.PUBLISHER])
grants = st.lists(st.tuples(algorithms, st.sampled_from([*ApiType][1:])), max_size=4, unique=True)
_versions: Iterator[int] = count(1)

Change = Callable[[EventLog], object]


def _enabled(connection: str, topic: str, algorithm: str, kind: ApiType, cycle: bool) -> Change:
    enable = EventLog.subscribe if kind is ApiType.SUBSCRIBER else EventLog.publish_to
    return lambda log: enable(log, connection, topic, algorithm, allow_cycle=cycle)


def _of_flow(verb: Change | str, *names: object) -> Change:
    connection, topic, algorithm, kind = names
    flow_id = flow_id_of(connection, topic, algorithm, kind)  # type: ignore[arg-type]
    return lambda log: getattr(log, str(verb))(flow_id)


def _deleted(name: str) -> Change:
    """The registry deletes a connection once."""

    def change(log: EventLog) -> None:
        if log.catalog().connection(id_of(name)) is not None:
            log.delete_connection(name)

    return change


changes = st.one_of(
    st.builds(_enabled, connections, topics, algorithms, api_types, st.booleans()),
    st.builds(
        _of_flow,
        st.sampled_from(["disable", "enable", "delete", "pause", "resume"]),
        connections,
        topics,
        algorithms,
        api_types,
    ),
    st.builds(
        lambda one, other: lambda log: log.chain(one, other) if one != other else None,
        algorithms,
        algorithms,
    ),
    st.builds(
        lambda connection, topic, given: lambda log: log.set_access(connection, topic, *given),
        connections,
        topics,
        grants,
    ),
    st.builds(lambda name: lambda log: log.publish(name, f"9.0.{next(_versions)}"), algorithms),
    st.builds(_deleted, connections),
    st.builds(
        lambda connection, topic, algorithm, letters: (
            lambda log: log.enable(
                flow_id_of(connection, topic, algorithm, ApiType.SUBSCRIBER), dead_letters=letters
            )
        ),
        connections,
        topics,
        algorithms,
        topics,
    ),
)


class Feed:
    """A catalog that is given the log event by event."""

    def __init__(self) -> None:
        self.catalog = Catalog()

    def catch_up(self, log: EventLog) -> None:
        for recorded in log.recorded[self.catalog.position :]:
            self.catalog.apply(recorded)

    async def changes(self) -> AsyncIterator[int]:
        yield self.catalog.position


def _same(one: Plan | None, other: Plan | None) -> bool:
    if isinstance(one, FlowSpec) and isinstance(other, FlowSpec):
        return same_flow(one, other)
    return one == other


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(changes, min_size=1, max_size=3), min_size=1, max_size=25))
def test_what_is_kept_is_what_would_be_derived_now(steps: list[list[Change]]) -> None:
    log = EventLog()
    log.account("acme")
    for name in ALGORITHMS:
        log.algorithm(name, "1.0.0")
    for name in CONNECTIONS:
        log.connection(name)
    feed = Feed()
    plans = FlowPlans(feed, group_prefix="p", is_complete=lambda: True)
    for step in steps:
        for change in step:
            change(log)
        feed.catch_up(log)
        plans.touched()
        fresh = FlowPlans(feed, group_prefix="p", is_complete=lambda: True)
        for flow_id in plans.enabled():
            kept, derived = plans.follow(flow_id), fresh.plan(flow_id)
            assert _same(kept, derived), (kept, derived)
