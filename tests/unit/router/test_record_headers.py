"""What the router reads from the headers of a record, which anybody may have written."""

from collections.abc import Sequence

import pytest
from catalog.events import FlowKind
from catalog.records import FLOW_CHANGES_KEPT_MAX, FlowChange
from router.domain.completion_filter import VERDICTS_KEPT_MAX, CompletionFilter, newest_position
from router.domain.delivery import Delivery
from router.domain.hops import hops_of
from router.domain.trace_context import traceparent_of

from tests.support.router_flows import (
    COMPLETION,
    delivery,
    with_header,
)

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("header", "hops"),
    [(b"0", 0), (b"23", 23), (b"", 0), (b"-1", 0), (b"many", 0), (b"9" * 40, 0), (b"\xb2", 0)],
)
def test_hops_that_are_no_count_count_as_none(header: bytes, hops: int) -> None:
    assert hops_of({"ef-hops": header}) == hops


def test_a_traceparent_goes_along() -> None:
    assert traceparent_of({"traceparent": TRACEPARENT}) == TRACEPARENT.decode()


@pytest.mark.parametrize("header", [b"", b"x", TRACEPARENT + b"\r\nX: 1", TRACEPARENT.upper()])
def test_a_traceparent_of_another_form_is_dropped(header: bytes) -> None:
    assert traceparent_of({"traceparent": header}) == ""


def takes(kind: FlowKind, changes: Sequence[FlowChange], record: Delivery) -> bool:
    return CompletionFilter(kind).takes(changes, record)


HISTORY = (FlowChange(7, "1.2.3"),)


def test_a_subscriber_flow_takes_every_record() -> None:
    assert takes(FlowKind.SUBSCRIBER, (), delivery())


def test_a_publisher_flow_takes_live_successes_of_its_version() -> None:
    for position in (b"7", b"9"):
        headers = with_header(COMPLETION, "ef-position", position)
        assert takes(FlowKind.PUBLISHER, HISTORY, delivery(headers=headers))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ef-status", b"failed"),
        ("ef-mode", b"test"),
        ("ef-version", b"1.2.4"),
        ("ef-position", b"6"),
        ("ef-position", b""),
        ("ef-position", b"many"),
    ],
)
def test_a_publisher_flow_passes_over_other_completions(name: str, value: bytes) -> None:
    headers = with_header(COMPLETION, name, value)
    assert not takes(FlowKind.PUBLISHER, HISTORY, delivery(headers=headers))


def test_a_record_that_is_no_completion_is_passed_over() -> None:
    assert not takes(FlowKind.PUBLISHER, HISTORY, delivery())


def test_a_flow_without_a_version_takes_completions_of_every_version() -> None:
    headers = with_header(COMPLETION, "ef-version", b"9.9.9")
    assert takes(FlowKind.CHAIN, (FlowChange(7, ""),), delivery(headers=headers))


@pytest.mark.parametrize(
    ("position", "version", "taken"),
    [
        (b"7", b"1.0.0", True),
        (b"9", b"1.0.0", True),  # on its way when the version was changed
        (b"10", b"1.0.0", False),
        (b"10", b"2.0.0", True),
        (b"12", b"2.0.0", False),  # began while the flow was disabled
        (b"15", b"2.0.0", True),
        (b"6", b"1.0.0", False),
    ],
)
def test_a_completion_is_judged_by_what_stood_when_its_run_began(
    position: bytes, version: bytes, taken: bool
) -> None:
    changes = (
        FlowChange(7, "1.0.0"),
        FlowChange(10, "2.0.0"),
        FlowChange(12, None),
        FlowChange(14, "2.0.0"),
    )
    headers = with_header(COMPLETION, "ef-position", position)
    record = delivery(headers=with_header(headers, "ef-version", version))
    assert takes(FlowKind.PUBLISHER, changes, record) is taken


@pytest.mark.parametrize("oldest", ["1.2.3", None])
def test_when_older_changes_are_forgotten_a_result_is_rather_repeated_than_lost(
    oldest: str | None,
) -> None:
    changes = [FlowChange(100 + n, "1.2.3") for n in range(FLOW_CHANGES_KEPT_MAX)]
    changes[0] = FlowChange(100, oldest)
    headers = with_header(COMPLETION, "ef-position", b"50")
    assert takes(FlowKind.PUBLISHER, changes, delivery(headers=headers))


def test_a_verdict_is_that_of_the_history_of_this_moment() -> None:
    judge, record = CompletionFilter(FlowKind.PUBLISHER), delivery(headers=COMPLETION)
    assert judge.takes(HISTORY, record)
    assert not judge.takes((FlowChange(7, "1.2.4"),), record)
    assert judge.takes(HISTORY, record)


def test_the_verdicts_that_are_remembered_are_bounded() -> None:
    judge = CompletionFilter(FlowKind.PUBLISHER)
    for position in range(2 * VERDICTS_KEPT_MAX):
        headers = with_header(COMPLETION, "ef-position", b"%d" % position)
        assert judge.takes(HISTORY, delivery(headers=headers)) is (position >= 7)
        assert len(judge._verdicts) <= VERDICTS_KEPT_MAX


def test_the_newest_position_of_some_completions_is_known() -> None:
    headers = [with_header(COMPLETION, "ef-position", text) for text in (b"7", b"12", b"x")]
    assert newest_position([delivery(headers=each) for each in headers]) == 12
    assert newest_position([delivery()]) == -1
