"""A flow that closes a cycle is blocked, the flows before it run."""

from itertools import pairwise

import pytest
from catalog.blocking import PATH_NODES_MAX
from catalog.catalog import Catalog
from catalog.effective import Blocked, BlockReasonKind, Runnable, effective
from catalog.events import ApiType

from tests.support.event_log import EventLog

DIGITS, LABELS = "acme/digits", "acme/labels"


@pytest.fixture
def log() -> EventLog:
    """acme with two published algorithms, and a Kafka cluster named plant."""
    log = EventLog()
    log.account("acme")
    log.algorithm(DIGITS, "0.1.0")
    log.algorithm(LABELS, "0.1.0")
    log.connection("plant")
    return log


def runs(log: EventLog, *flow_ids: str) -> list[bool]:
    catalog = log.catalog()
    return [isinstance(effective(catalog, flow_id), Runnable) for flow_id in flow_ids]


def cycle_of(catalog: Catalog, flow_id: str) -> str:
    found = effective(catalog, flow_id)
    assert isinstance(found, Blocked)
    assert [reason.kind for reason in found.reasons] == [BlockReasonKind.CYCLE]
    return found.sentence


def test_the_flow_that_closes_the_cycle_is_blocked_with_the_path(log: EventLog) -> None:
    first = log.subscribe("plant", "images", DIGITS)
    last = log.publish_to("plant", "images", DIGITS)
    assert runs(log, first, last) == [True, False]
    assert "acme/digits → images → acme/digits;" in cycle_of(log.catalog(), last)


def test_a_long_way_round_is_a_cycle_too(log: EventLog) -> None:
    flows = [
        log.publish_to("plant", "labels", DIGITS),
        log.subscribe("plant", "labels", LABELS),
        log.publish_to("plant", "images", LABELS),
        log.subscribe("plant", "images", DIGITS),
    ]
    assert runs(log, *flows) == [True, True, True, False]
    path = "images → acme/digits → labels → acme/labels → images;"
    assert path in cycle_of(log.catalog(), flows[-1])


def test_chain_flows_close_cycles(log: EventLog) -> None:
    flows = [log.chain(DIGITS, LABELS), log.chain(LABELS, DIGITS)]
    assert runs(log, *flows) == [True, False]


def test_an_algorithm_that_starts_itself_is_a_cycle(log: EventLog) -> None:
    flow_id = log.chain(DIGITS, DIGITS)
    assert "acme/digits → acme/digits;" in cycle_of(log.catalog(), flow_id)


def test_dead_letters_that_come_back_are_a_cycle(log: EventLog) -> None:
    flow_id = log.grant("plant", "images", DIGITS, ApiType.SUBSCRIBER)
    log.grant("plant", "images", DIGITS, ApiType.DEAD_LETTER)
    log.enable(flow_id, dead_letters="images")
    assert "images → images;" in cycle_of(log.catalog(), flow_id)


def test_a_flow_may_be_allowed_to_close_a_cycle(log: EventLog) -> None:
    first = log.subscribe("plant", "images", DIGITS)
    last = log.publish_to("plant", "images", DIGITS, allow_cycle=True)
    assert runs(log, first, last) == [True, True]


def test_allowing_it_to_the_first_flow_does_not_allow_it_to_the_last(log: EventLog) -> None:
    first = log.subscribe("plant", "images", DIGITS, allow_cycle=True)
    last = log.publish_to("plant", "images", DIGITS)
    assert runs(log, first, last) == [True, False]


def test_the_same_topic_name_on_another_connection_closes_nothing(log: EventLog) -> None:
    log.connection("office")
    flows = [log.subscribe("plant", "images", DIGITS), log.publish_to("office", "images", DIGITS)]
    assert runs(log, *flows) == [True, True]


def test_a_fork_that_meets_again_is_no_cycle(log: EventLog) -> None:
    log.algorithm("acme/third", "0.1.0")
    flows = [
        log.chain(DIGITS, LABELS),
        log.chain(DIGITS, "acme/third"),
        log.publish_to("plant", "out", LABELS),
        log.publish_to("plant", "out", "acme/third"),
    ]
    assert runs(log, *flows) == [True, True, True, True]


def test_disabling_one_flow_of_the_cycle_unblocks_the_last(log: EventLog) -> None:
    first = log.subscribe("plant", "images", DIGITS)
    last = log.publish_to("plant", "images", DIGITS)
    log.disable(first)
    assert runs(log, first, last) == [False, True]
    log.enable(first)
    assert runs(log, first, last) == [False, True]  # now it is the one that came later


def test_new_settings_do_not_make_a_flow_the_last_one(log: EventLog) -> None:
    first = log.subscribe("plant", "images", DIGITS)
    last = log.publish_to("plant", "images", DIGITS)
    log.enable(first, "0.1.0")
    assert runs(log, first, last) == [True, False]


def test_a_flow_that_is_blocked_for_another_reason_closes_no_cycle(log: EventLog) -> None:
    first = log.subscribe("plant", "images", DIGITS)
    last = log.publish_to("plant", "images", DIGITS)
    log.enable(first, "9.9.9")
    assert runs(log, first, last) == [False, True]


def test_a_flow_that_is_blocked_by_a_cycle_does_not_count_in_another(log: EventLog) -> None:
    flows = [
        log.chain(DIGITS, LABELS),
        log.chain(LABELS, DIGITS),  # closes a cycle: blocked
        log.publish_to("plant", "images", DIGITS),
        log.subscribe("plant", "images", LABELS),  # a cycle only over the blocked flow: runs
    ]
    assert runs(log, *flows) == [True, False, True, True]


def test_a_flow_that_may_close_a_cycle_counts_in_others(log: EventLog) -> None:
    flows = [
        log.chain(DIGITS, LABELS),
        log.chain(LABELS, DIGITS, allow_cycle=True),
        log.publish_to("plant", "images", DIGITS),
        log.subscribe("plant", "images", LABELS),
    ]
    assert runs(log, *flows) == [True, True, True, False]


def test_a_cycle_is_told_besides_the_other_reasons(log: EventLog) -> None:
    log.subscribe("plant", "images", DIGITS)
    last = log.publish_to("plant", "images", DIGITS)
    log.enable(last, "9.9.9")
    found = effective(log.catalog(), last)
    assert isinstance(found, Blocked)
    assert [reason.kind for reason in found.reasons] == [
        BlockReasonKind.VERSION_NOT_PUBLISHED,
        BlockReasonKind.CYCLE,
    ]


def test_a_very_long_cycle_is_found_without_recursion_and_told_in_short(log: EventLog) -> None:
    length = 3_000
    names = [f"acme/step{number}" for number in range(length)]
    for name in names:
        log.algorithm(name, "0.1.0")
    flows = [log.chain(one, two) for one, two in pairwise([*names, names[0]])]
    catalog = log.catalog()
    assert isinstance(effective(catalog, flows[0]), Runnable)
    sentence = cycle_of(catalog, flows[-1])
    assert sentence.count("→") == PATH_NODES_MAX
    assert "→ … →" in sentence
