"""Of what a library repeats, the log shows one in ten seconds."""

from __future__ import annotations

import logging

import pytest
from router.entrypoints.log_flood import INTERVAL_S, TEMPLATES_MAX, RepeatFilter

from tests.support.manual_clock import ManualClock


def record(name: str, message: str, *args: object, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, message, args, None)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_repeated_line_is_seen_once_in_the_interval(clock: ManualClock) -> None:
    flood = RepeatFilter(monotonic_s=clock.monotonic_s)
    line = record("aiokafka.client", "no connection to node %s", 1)
    assert flood.filter(line)
    assert not flood.filter(record("aiokafka.client", "no connection to node %s", 2))
    clock.advance(INTERVAL_S)
    assert flood.filter(line)


def test_other_lines_levels_and_loggers_are_seen(clock: ManualClock) -> None:
    flood = RepeatFilter(monotonic_s=clock.monotonic_s)
    assert flood.filter(record("aiokafka", "one"))
    assert flood.filter(record("aiokafka", "two"))
    assert flood.filter(record("aiokafka", "one", level=logging.WARNING))
    assert flood.filter(record("faust.worker", "one"))


def test_our_own_lines_are_never_held_back(clock: ManualClock) -> None:
    flood = RepeatFilter(monotonic_s=clock.monotonic_s)
    assert all(flood.filter(record("router.application.supervisor", "same")) for _ in range(3))
    assert all(flood.filter(record("aiokafkaesque", "same")) for _ in range(3))


def test_its_memory_is_bounded(clock: ManualClock) -> None:
    flood = RepeatFilter(monotonic_s=clock.monotonic_s)
    first = record("aiokafka", "first")
    assert flood.filter(first)
    for number in range(TEMPLATES_MAX):
        assert flood.filter(record("aiokafka", f"another {number}"))
    assert flood.filter(first)
