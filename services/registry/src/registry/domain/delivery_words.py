"""Delivery settings and selections of dead letters in words. Defaults are not told."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from catalog.events import DeadLetterSelection, DeliverySettings, FailureClass, RetryRule


def of_settings(settings: DeliverySettings) -> Iterator[tuple[str, str, str]]:
    """(entry, field, words) of each setting; an entry is the place of a retry rule."""
    if settings.order:
        yield "", "order", _word(settings.order)
    if settings.parallelism > 1:
        yield "", "instances", str(settings.parallelism)
    if settings.start:
        yield "", "start", _word(settings.start)
    if settings.read_committed:
        yield "", "committed transactions only", "yes"
    for place, rule in enumerate(settings.retries, 1):
        yield str(place), "retry rule", f"{place}. {_rule(rule)}"


def of_selection(selection: DeadLetterSelection) -> str:
    """What narrows the selection down, all of it; `all` when nothing does."""
    words = [
        selection.since and f"since {selection.since.isoformat()}",
        selection.until and f"before {selection.until.isoformat()}",
        selection.failure and f"failure {_word(selection.failure)}",
        selection.error_type and f"error type {selection.error_type}",
        selection.record_key and f"key {selection.record_key.decode(errors='backslashreplace')}",
        selection.topic and f"topic {selection.topic}",
        selection.partitions and f"partitions {', '.join(map(str, selection.partitions))}",
        (selection.offset_first or selection.offset_last)
        and f"offsets {selection.offset_first} to {selection.offset_last}",
        selection.letter_ids and f"letters {', '.join(selection.letter_ids)}",
    ]
    return "; ".join(one for one in words if one) or "all"


def _rule(rule: RetryRule) -> str:
    fits = "every failure" if rule.failure is FailureClass.UNSPECIFIED else _word(rule.failure)
    words = [
        f"{fits} ({rule.error_type})" if rule.error_type else fits,
        rule.attempts_max and f"at most {rule.attempts_max} attempts",
        rule.age_max_s and f"for {rule.age_max_s} s",
        rule.delay_first_ms and f"first delay {rule.delay_first_ms} ms",
        rule.delay_longest_ms and f"longest delay {rule.delay_longest_ms} ms",
        rule.factor and f"factor {rule.factor:g}",
        rule.give_up and f"then {_word(rule.give_up)}",
    ]
    return ", ".join(one for one in words if one)


def _word(number: IntEnum) -> str:
    return number.name.lower().replace("_", " ")
