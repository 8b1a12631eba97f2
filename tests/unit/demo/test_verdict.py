"""The demo's judge must be able to say no."""

from __future__ import annotations

from examples.demo.records import DemoRecord, demo_records
from examples.demo.verdict import Result, judge


def _records(count: int = 6) -> list[DemoRecord]:
    return [
        DemoRecord(number=n, key=b"even" if n % 2 == 0 else b"odd", value=b"", digit=n)
        for n in range(count)
    ]


def _results(*numbers: int, digit_off: int = 0) -> list[Result]:
    return [
        Result(key=b"even" if n % 2 == 0 else b"odd", number=n, digit=n + digit_off)
        for n in numbers
    ]


def test_all_records_once_in_order_pass() -> None:
    verdict = judge(_records(), _results(0, 2, 1, 4, 3, 5))
    assert (verdict.lost, verdict.repeated, verdict.order_breaks) == (0, 0, 0)
    assert verdict.passed


def test_a_missing_record_is_lost_and_fails() -> None:
    verdict = judge(_records(), _results(0, 2, 1, 4, 3))
    assert verdict.lost == 1
    assert not verdict.passed


def test_a_repeat_is_counted_and_does_not_fail() -> None:
    verdict = judge(_records(), _results(0, 2, 0, 1, 4, 2, 3, 5))
    assert verdict.repeated == 2
    assert verdict.order_breaks == 0
    assert verdict.passed


def test_a_first_occurrence_behind_a_newer_one_of_its_key_is_an_order_break() -> None:
    verdict = judge(_records(), _results(2, 0, 1, 4, 3, 5))
    assert verdict.order_breaks == 1
    assert not verdict.passed


def test_wrong_answers_fail() -> None:
    assert not judge(_records(), _results(0, 1, 2, 3, 4, 5, digit_off=1)).passed


def test_no_results_at_all_fail() -> None:
    verdict = judge(_records(), [])
    assert verdict.lost == 6
    assert not verdict.passed


def test_the_records_of_a_key_rise_and_are_spread_over_all_keys() -> None:
    records = demo_records(200, keys=50)
    by_key: dict[bytes, list[int]] = {}
    for record in records:
        by_key.setdefault(record.key, []).append(record.number)
    assert len(by_key) == 50
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
