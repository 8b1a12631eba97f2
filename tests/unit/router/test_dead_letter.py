"""A dead letter tells everything about a failure and stays within its limits."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from router.domain.dead_letter import HISTORY_BYTES_MAX, Attempt, History, dead_letter
from router.domain.outcome import ERROR_TEXT_MAX, OutcomeKind, failed

from tests.support.router_flows import SUBSCRIBER, delivery

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def history(*errors: str) -> History:
    made = History()
    for number, error in enumerate(errors, 1):
        outcome = failed(OutcomeKind.UNREACHABLE, error, error_type="E")
        made.add(Attempt(attempt=number, at=AT + timedelta(seconds=number), outcome=outcome))
    return made


def test_it_names_coordinates_cause_times_and_configuration() -> None:
    record = delivery(41, partition=3, headers=(("own", b"1"),))
    letter = dead_letter(SUBSCRIBER, record, history("first", "last"), request_id="req-9")
    headers = dict(letter.headers)
    assert letter.delivery is record
    expected = {
        "own": "1",
        "ef-dl-flow": "flow-1",
        "ef-dl-algorithm": "acme/Digits",
        "ef-dl-version": "1.2.3",
        "ef-dl-topic": "topic",
        "ef-dl-partition": "3",
        "ef-dl-offset": "41",
        "ef-dl-timestamp-ms": "1041",
        "ef-dl-reason": "unreachable",
        "ef-dl-error-type": "E",
        "ef-dl-error": "last",
        "ef-dl-attempts": "2",
        "ef-dl-first-at": "2026-11-23T12:00:01+00:00",
        "ef-dl-last-at": "2026-11-23T12:00:02+00:00",
        "ef-dl-position": "9",
        "ef-dl-request-id": "req-9",
    }
    assert {name: headers.pop(name).decode() for name in expected} == expected
    assert [line["error"] for line in json.loads(headers.pop("ef-dl-history"))] == ["first", "last"]
    assert headers == {}


def test_the_headers_of_an_earlier_death_are_replaced() -> None:
    record = delivery(headers=(("ef-dl-reason", b"old"), ("ef-dl-anything", b"old")))
    letter = dead_letter(SUBSCRIBER, record, history("new"), request_id="req-9")
    assert b"old" not in [value for _, value in letter.headers]


def test_a_narrower_reason_stands_in_place_of_the_kind() -> None:
    made = History()
    outcome = failed(OutcomeKind.REFUSED, "big", reason="record_too_large")
    made.add(Attempt(attempt=1, at=AT, outcome=outcome))
    letter = dead_letter(SUBSCRIBER, delivery(), made, request_id="req-9")
    assert dict(letter.headers)["ef-dl-reason"] == b"record_too_large"


@given(st.lists(st.text(max_size=2 * ERROR_TEXT_MAX), min_size=1, max_size=100))
def test_the_history_is_bounded_json_with_the_newest_last(errors: list[str]) -> None:
    text = history(*errors).to_json()
    lines = json.loads(text)
    assert len(text) <= HISTORY_BYTES_MAX
    assert lines[-1]["attempt"] == len(errors)
    numbers = [line["attempt"] for line in lines if line["outcome"] != "summary"]
    assert numbers == list(range(len(errors) - len(numbers) + 1, len(errors) + 1))
    assert len(numbers) == len(errors) or lines[0]["error"].startswith(
        f"{len(errors) - len(numbers)} older attempts"
    )


def test_an_error_that_is_no_unicode_is_still_written() -> None:
    letter = dead_letter(SUBSCRIBER, delivery(), history("\ud800"), request_id="req-9")
    assert dict(letter.headers)["ef-dl-error"] == b"?"
