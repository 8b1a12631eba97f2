"""A dead letter tells everything about a failure and stays within its limits."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st
from router.domain.dead_letter import (
    HISTORY_BYTES_MAX,
    Attempt,
    DeadLetter,
    History,
    dead_letter,
    died_in,
    original_headers,
)
from router.domain.dead_letter_record import hash_of_key, letter_of, original_of
from router.domain.delivery import Delivery
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
        "ef-dl-generation": "0",
        "ef-dl-class": "unreachable",
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


def test_headers_that_a_record_brings_cannot_be_taken_for_ours() -> None:
    brought = (("ef-dl-flow", b"forged"), ("ef-dl-mark", b"purged"), ("ef-original-x", b"1"))
    record = delivery(headers=(("twice", b"1"), *brought, ("twice", b"2")))
    letter = dead_letter(SUBSCRIBER, record, history("new"), request_id="req-9")
    assert [value for name, value in letter.headers if name == "ef-dl-flow"] == [b"flow-1"]
    assert b"purged" not in [value for name, value in letter.headers if name == "ef-dl-mark"]
    assert original_headers(letter.headers) == record.headers


def test_the_headers_of_a_redrive_are_those_of_the_last_death_alone() -> None:
    first = dead_letter(SUBSCRIBER, delivery(), history("first"), request_id="req-9")
    original = original_of(as_record(first))
    spec = replace(SUBSCRIBER, generation=1)
    again = died_in(dead_letter(spec, original, history("again"), request_id="req-10"), "task-1")
    names = [name for name, _ in again.headers]
    assert len(names) == len(set(names))
    said = dict(again.headers)
    assert (said["ef-dl-generation"], said["ef-dl-task"]) == (b"1", b"task-1")
    assert (said["ef-dl-error"], said["ef-dl-offset"]) == (b"again", b"0")


BYTES = st.none() | st.binary(max_size=5)
NAMES = st.sampled_from(["own", "ef-dl-flow", "ef-original-", "ef-original-ef-dl-flow", "ef-dl-"])


@given(BYTES, BYTES, st.lists(st.tuples(NAMES, st.binary(max_size=5)), max_size=6))
def test_the_original_comes_back_as_it_was(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    record = delivery(5, partition=3, key=key, value=value, headers=tuple(headers), epoch=0)
    letter = dead_letter(SUBSCRIBER, record, history("bad"), request_id="req-9")
    written = as_record(letter)
    if key is None and value is None:  # what aiokafka can send of it
        written = written._replace(value=b"")
    assert original_of(written) == record
    assert letter_of(written).key_hash == hash_of_key(key)


def as_record(letter: DeadLetter) -> Delivery:
    """The letter as the record that it becomes."""
    return letter.delivery._replace(
        topic="dead-letters", partition=1, offset=77, headers=letter.headers
    )


def test_a_narrower_reason_stands_in_place_of_the_kind() -> None:
    made = History()
    outcome = failed(OutcomeKind.REFUSED, "big", reason="record_too_large")
    made.add(Attempt(attempt=1, at=AT, outcome=outcome))
    letter = dead_letter(SUBSCRIBER, delivery(), made, request_id="req-9")
    assert dict(letter.headers)["ef-dl-reason"] == b"record_too_large"


SHORT_OR_LONG = st.text(max_size=5) | st.text(min_size=1, max_size=3).map(
    lambda text: text * ERROR_TEXT_MAX
)
"""Left to itself hypothesis makes short texts, and no history of those is ever too long."""


@given(st.lists(SHORT_OR_LONG, min_size=1, max_size=100))
@example(["x" * ERROR_TEXT_MAX] * 100)
@example(["\u00e9" * ERROR_TEXT_MAX] * 100)
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


def test_attempts_that_are_left_out_are_counted_by_class() -> None:
    made = History()
    kinds = [OutcomeKind.OVERLOADED] * 100 + [OutcomeKind.CRASHED] * 3
    for number, kind in enumerate(kinds, 1):
        made.add(Attempt(attempt=number, at=AT, outcome=failed(kind, "x" * 600)))
    text = made.to_json()
    assert len(text) <= HISTORY_BYTES_MAX
    summary, *kept = json.loads(text)
    shown = Counter(line["outcome"] for line in kept)
    assert shown["crashed"] == 3
    assert summary["left_out"] == {"overloaded": 100 - shown["overloaded"]}


def test_an_error_that_is_no_unicode_is_still_written() -> None:
    letter = dead_letter(SUBSCRIBER, delivery(), history("\ud800"), request_id="req-9")
    assert dict(letter.headers)["ef-dl-error"] == b"?"
