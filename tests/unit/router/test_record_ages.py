"""The age of the oldest record that waits, from what was received and no more."""

from router.domain.delivery import NO_TIME_MS
from router.domain.record_ages import RecordAges

NOW_MS = 1_000_000


def test_a_received_record_is_as_old_as_its_own_time_says() -> None:
    ages = RecordAges()
    ages.received(0, 9, NOW_MS - 60_000)
    ages.received(10, 19, NOW_MS - 30_000)
    assert ages.waiting_ms(0, now_ms=NOW_MS) == 60_000
    assert ages.waiting_ms(9, now_ms=NOW_MS) == 60_000
    assert ages.waiting_ms(10, now_ms=NOW_MS) == 30_000


def test_what_was_not_received_yet_waits_since_it_was_seen_first() -> None:
    ages = RecordAges()
    ages.received(0, 9, NOW_MS - 60_000)
    assert ages.waiting_ms(10, now_ms=NOW_MS) == 0
    assert ages.waiting_ms(10, now_ms=NOW_MS + 7_000) == 7_000
    ages.received(10, 10, NOW_MS)
    assert ages.waiting_ms(11, now_ms=NOW_MS + 9_000) == 0, "another position, seen first now"


def test_a_record_of_the_future_is_not_younger_than_now() -> None:
    ages = RecordAges()
    ages.received(0, 0, NOW_MS + 60_000)
    assert ages.waiting_ms(0, now_ms=NOW_MS) == 0


def test_a_record_without_a_time_waits_since_this_was_asked_first() -> None:
    ages = RecordAges()
    ages.received(0, 9, NO_TIME_MS)
    assert ages.waiting_ms(0, now_ms=NOW_MS) == 0
    ages.received(10, 19, NO_TIME_MS)
    ages.received(20, 29, NOW_MS)
    assert ages.waiting_ms(0, now_ms=NOW_MS + 7_000) == 7_000, "more was received behind it"
    assert ages.waiting_ms(10, now_ms=NOW_MS + 9_000) == 0
    assert ages.waiting_ms(20, now_ms=NOW_MS + 9_000) == 9_000


def test_little_is_kept_of_many_records_of_one_second() -> None:
    ages = RecordAges()
    for offset in range(10_000):
        ages.received(offset, offset, NOW_MS + offset // 100)
    assert len(ages._times) == 1


def test_the_times_of_what_is_done_are_forgotten() -> None:
    ages = RecordAges()
    for offset in range(100):
        ages.received(offset, offset, NOW_MS + offset * 1_000)
    ages.forget_below(50)
    assert len(ages._times) == 50
    assert ages.waiting_ms(50, now_ms=NOW_MS + 60_000) == 10_000
    ages.forget_below(100)
    assert len(ages._times) == 1
