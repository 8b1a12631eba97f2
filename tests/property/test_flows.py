"""Whatever is granted, enabled, disabled and deleted: the indexes agree with the flows, and what is
blocked by a cycle is what the plain definition says."""

from __future__ import annotations

from typing import TypeAlias

from catalog.catalog import Catalog
from catalog.effective import Blocked, BlockReasonKind, effective
from catalog.events import ApiType, FlowKind
from catalog.records import Flow
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.event_log import EventLog, flow_id_of, id_of

ALGORITHMS = ("acme/a", "acme/b", "acme/c")
TOPICS = ("red", "green", "blue")
GRANTS = (ApiType.SUBSCRIBER, ApiType.PUBLISHER, ApiType.DEAD_LETTER)
Edge: TypeAlias = tuple[str, str]

wires = st.tuples(st.sampled_from(TOPICS), st.sampled_from(ALGORITHMS), st.sampled_from(GRANTS[:2]))
grants = st.lists(st.tuples(st.sampled_from(ALGORITHMS), st.sampled_from(GRANTS)), max_size=5)
steps = st.one_of(
    st.tuples(st.just("access"), st.sampled_from(TOPICS), grants),
    st.tuples(st.just("enable"), wires, st.booleans(), st.sampled_from(("", *TOPICS))),
    st.tuples(st.just("disable"), wires),
    st.tuples(st.just("delete"), wires),
    st.tuples(st.just("pause"), wires),
    st.tuples(st.just("resume"), wires),
    st.tuples(st.just("chain"), *[st.sampled_from(ALGORITHMS)] * 2, st.booleans()),
)


def told(history: list[tuple[object, ...]], *, all_granted: bool) -> EventLog:
    """The log of these steps on one connection."""
    log = EventLog()
    log.account("acme")
    for name in ALGORITHMS:
        log.algorithm(name, "0.1.0")
    log.connection("plant")
    if all_granted:
        for topic in TOPICS:
            log.set_access("plant", topic, *((name, one) for name in ALGORITHMS for one in GRANTS))
    for step in history:
        tell(log, step)
    return log


def tell(log: EventLog, step: tuple[object, ...]) -> None:
    match step:
        case "access", str(topic), list(saved):
            log.set_access("plant", topic, *saved)
        case "enable", (str(topic), str(name), ApiType() as one), bool(allowed), str(letters):
            flow_id = flow_id_of("plant", topic, name, one)
            log.enable(flow_id, dead_letters=letters, allow_cycle=allowed)
        case "disable", (str(topic), str(name), ApiType() as one):
            log.disable(flow_id_of("plant", topic, name, one))
        case "delete", (str(topic), str(name), ApiType() as one):
            log.delete(flow_id_of("plant", topic, name, one))
        case "pause", (str(topic), str(name), ApiType() as one):
            log.pause(flow_id_of("plant", topic, name, one))
        case "resume", (str(topic), str(name), ApiType() as one):
            log.resume(flow_id_of("plant", topic, name, one))
        case "chain", str(name), str(target), bool(allowed):
            log.chain(name, target, allow_cycle=allowed)
        case _:
            raise AssertionError(step)


def edges(flow: Flow) -> set[Edge]:
    """From where to where the flow's records go, dead letters too."""
    start, ends = flow.algorithm_id, set()
    if flow.kind is FlowKind.CHAIN:
        ends.add(flow.target_algorithm_id)
    elif flow.channel is not None:
        topic = flow.channel.name
        publishes = flow.kind is FlowKind.PUBLISHER
        start, end = (start, topic) if publishes else (topic, flow.algorithm_id)
        ends.add(end)
    if flow.settings is not None and flow.settings.dead_letter_topic:
        ends.add(flow.settings.dead_letter_topic)
    return {(start, end) for end in ends}


def leads(counted: set[Edge], start: str, goal: str) -> bool:
    """Is there a way from `start` to `goal`? By the closure, not by a walk."""
    reached = {start}
    while more := {end for begin, end in counted if begin in reached} - reached:
        reached |= more
    return goal in reached


def blocked_by_cycle(catalog: Catalog) -> set[str]:
    """The definition: in the order of enabling, each flow over those before it that count."""
    counted: set[Edge] = set()
    blocked = set()
    for flow_id in catalog.enabled_flow_ids():
        flow = catalog.flow(flow_id)
        assert flow is not None
        assert flow.settings is not None
        closes = any(leads(counted, end, start) for start, end in edges(flow))
        if closes and not flow.settings.allow_cycle:
            blocked.add(flow_id)
        elif not other_reasons(catalog, flow_id):
            counted |= edges(flow)
    return blocked


def other_reasons(catalog: Catalog, flow_id: str) -> bool:
    found = effective(catalog, flow_id)
    return isinstance(found, Blocked) and any(
        reason.kind is not BlockReasonKind.CYCLE for reason in found.reasons
    )


def said_to_be_blocked_by_cycle(catalog: Catalog) -> set[str]:
    blocked = set()
    for flow_id in catalog.enabled_flow_ids():
        found = effective(catalog, flow_id)
        if isinstance(found, Blocked) and BlockReasonKind.CYCLE in {
            reason.kind for reason in found.reasons
        }:
            blocked.add(flow_id)
    return blocked


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=25), st.booleans())
def test_the_blocked_flows_are_those_of_the_definition(
    history: list[tuple[object, ...]], all_granted: bool
) -> None:
    catalog = told(history, all_granted=all_granted).catalog()
    assert said_to_be_blocked_by_cycle(catalog) == blocked_by_cycle(catalog)


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=25))
def test_the_indexes_agree_with_the_flows(history: list[tuple[object, ...]]) -> None:
    catalog = told(history, all_granted=False).catalog()
    flows = catalog.flows()
    enabled = [flow for flow in flows if flow.settings is not None]
    by_place = sorted(enabled, key=lambda flow: flow.enabled_position)
    assert catalog.enabled_flow_ids() == tuple(flow.flow_id for flow in by_place)
    for name in ALGORITHMS:
        one = id_of(name)
        assert set(catalog.flows_of_algorithm(one)) == {
            flow for flow in flows if one in (flow.algorithm_id, flow.target_algorithm_id)
        }
        followers = {
            flow
            for flow in enabled
            if flow.algorithm_id == one and flow.kind is not FlowKind.SUBSCRIBER
        }
        assert set(catalog.enabled_followers(one)) == followers
        assert catalog.is_followed(one) == bool(followers)
    for topic in TOPICS:
        assert set(catalog.enabled_readers(id_of("plant"), topic)) == {
            flow
            for flow in enabled
            if flow.kind is FlowKind.SUBSCRIBER and flow.channel and flow.channel.name == topic
        }


@settings(max_examples=50, deadline=None)
@given(st.lists(steps, max_size=25))
def test_a_flow_is_listed_if_and_only_if_it_is_granted_or_created(
    history: list[tuple[object, ...]],
) -> None:
    log = told(history, all_granted=False)
    catalog = log.catalog()
    for flow in catalog.flows():
        assert flow.created_position or catalog.is_granted(
            connection_id=flow.channel.connection_id if flow.channel else "",
            topic=flow.channel.name if flow.channel else "",
            algorithm_id=flow.algorithm_id,
            api_type=flow.api_type,
        )
    for access in catalog.topics_with_access(id_of("plant")):
        for grant in access.grants:
            if grant.api_type is not ApiType.DEAD_LETTER:
                assert any(
                    flow.algorithm_id == grant.algorithm_id and flow.api_type is grant.api_type
                    for flow in catalog.flows()
                    if flow.channel is not None and flow.channel.name == access.topic
                )


@settings(max_examples=50, deadline=None)
@given(st.lists(steps, max_size=25))
def test_two_catalogs_that_read_the_same_log_give_the_same_answers(
    history: list[tuple[object, ...]],
) -> None:
    log = told(history, all_granted=False)
    one, two = log.catalog(), log.catalog()
    assert one.flows() == two.flows()
    assert [effective(one, flow.flow_id) for flow in one.flows()] == [
        effective(two, flow.flow_id) for flow in two.flows()
    ]
