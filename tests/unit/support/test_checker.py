"""The checker of the fault suite finds what it is there for."""

from __future__ import annotations

from tests.support.checker import Fate, Seen, judge, order_breaks

KEYS = 3


def record(number: int, *, offset: int | None = None) -> Seen:
    """Number `n` of key `n % 3` stands at offset `n` of one partition."""
    return Seen(
        number=number,
        key=f"key-{number % KEYS}".encode(),
        partition=0,
        offset=number if offset is None else offset,
    )


def records(*numbers: int) -> list[Seen]:
    return [record(number) for number in numbers]


def fate(number: int) -> Fate:
    return Fate.LETTER if number == 4 else Fate.RESULT


SOURCE = records(*range(9))
GOOD = records(0, 1, 2, 3, 5, 6, 7, 8)


def test_one_fate_for_each_in_order_is_right() -> None:
    verdict = judge(SOURCE, GOOD, records(4), expected=fate)
    assert verdict.is_right
    assert (verdict.records, verdict.results, verdict.letters) == (9, 8, 1)


def test_a_loss_is_found() -> None:
    verdict = judge(SOURCE, GOOD[:-1], records(4), expected=fate)
    assert verdict.lost == (8,)
    assert not verdict.is_right


def test_a_double_fate_is_found() -> None:
    verdict = judge(SOURCE, GOOD, records(4, 8), expected=fate)
    assert verdict.double_fates == (8,)
    assert not verdict.is_right


def test_a_wrong_fate_is_found() -> None:
    verdict = judge(SOURCE, records(*range(9)), [], expected=fate)
    assert verdict.wrong_fates == (4,)
    assert not verdict.is_right


def test_a_record_that_nobody_sent_is_found() -> None:
    verdict = judge(SOURCE, [*GOOD, record(99)], records(4), expected=fate)
    assert verdict.unknown == (99,)
    assert not verdict.is_right


def test_an_order_break_is_found() -> None:
    verdict = judge(SOURCE, records(3, 0, 1, 2, 5, 6, 7, 8), records(4), expected=fate)
    assert verdict.order_breaks == (0,)
    assert not verdict.is_right


def test_different_keys_have_no_order() -> None:
    assert order_breaks([(b"key-2", 8), (b"key-1", 7), (b"key-0", 6)], places()) == ()


def test_a_repeat_is_counted_and_is_no_order_break() -> None:
    verdict = judge(SOURCE, [*GOOD, record(0)], [*records(4), record(4)], expected=fate)
    assert verdict.is_right
    assert (verdict.results_repeated, verdict.letters_repeated) == (1, 1)


def test_a_gap_in_a_key_is_a_loss_and_no_order_break() -> None:
    verdict = judge(SOURCE, records(0, 1, 2, 6, 5, 7, 8), records(4), expected=fate)
    assert verdict.lost == (3,)
    assert verdict.order_breaks == ()


def places() -> dict[int, tuple[int, int]]:
    return {one.number: (one.partition, one.offset) for one in SOURCE}
