"""The W3C specification's own examples, and what it calls invalid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servicekit.trace import Traceparent, child_of, new_traceparent, parse_traceparent

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
HEADER = f"00-{TRACE_ID}-{SPAN_ID}-01"


def test_the_example_of_the_specification_is_read() -> None:
    assert parse_traceparent(HEADER) == Traceparent(trace_id=TRACE_ID, span_id=SPAN_ID, flags=1)


def test_a_later_version_is_read_as_far_as_we_know_it() -> None:
    trace = parse_traceparent(f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like")
    assert trace is not None
    assert str(trace) == HEADER


def test_flags_that_we_do_not_know_are_not_passed_on() -> None:
    trace = parse_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-ff")
    assert trace is not None
    assert trace.flags == 1


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        HEADER.upper(),
        HEADER + "-more",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"cc-{TRACE_ID}-{SPAN_ID}-01.later",
        f"cc-{TRACE_ID}-{SPAN_ID}-01-" + "x" * 300,
    ],
)
def test_a_malformed_header_starts_a_new_trace(header: str | None) -> None:
    assert parse_traceparent(header) is None


@given(st.text(max_size=80))
def test_any_text_is_either_a_trace_or_none(text: str) -> None:
    trace = parse_traceparent(text)
    assert trace is None or parse_traceparent(str(trace)) == trace


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_what_we_make_can_be_read(first: bytes, second: bytes) -> None:
    parent = new_traceparent(lambda size: first[:size])
    child = child_of(parent, lambda size: second[:size])
    assert parse_traceparent(str(parent)) == parent
    assert parse_traceparent(str(child)) == child
    assert child.trace_id == parent.trace_id
