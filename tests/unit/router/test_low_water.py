"""The low-water mark equals what a brute-force model says, whatever ends in which order."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from router.domain import low_water as module
from router.domain.commit_metadata import METADATA_BYTES_MAX, decode, encode
from router.domain.low_water import RANGES_MAX, LowWater, Mark


def expand(mark: Mark, *, among: list[int]) -> set[int]:
    """The records that a mark calls finished above its position."""
    return {offset for offset in among for first, last in mark.finished if first <= offset <= last}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from([1, 4, module.TRIM_RECORDS_MIN]))
def test_the_mark_is_the_first_offset_not_done_and_what_is_finished_above_it(
    data: st.DataObject, trim_records_min: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "TRIM_RECORDS_MIN", trim_records_min)
        log = data.draw(st.lists(st.integers(0, 40), unique=True, max_size=25).map(sorted))
        finished: set[int] = set()
        mark = Mark(position=0)
        for _ in range(3):  # three assignments, each begins where the last one was settled
            low_water = LowWater(mark)
            started: dict[int, int] = {}
            received = -1
            to_come = [offset for offset in log if offset >= mark.position]
            for _ in range(data.draw(st.integers(0, 30))):
                choice = data.draw(st.integers(0, 2 * len(started) + 1))
                before = mark
                version = low_water.version
                if choice < len(started):
                    offset = sorted(started)[choice]
                    low_water.finish(started.pop(offset))
                    finished.add(offset)
                elif to_come:
                    received = to_come.pop(0)
                    place = low_water.start(received)
                    assert (place is None) == (received in finished)
                    if place is not None:
                        started[received] = place
                mark = low_water.mark()
                assert low_water.version != version or mark.finished == before.finished
                newest = received + 1 if received >= 0 else LowWater(mark).position
                assert mark.position == low_water.position
                assert mark.position == min(started, default=newest)
                assert all(offset in finished for offset in log if offset < mark.position)
                above = {offset for offset in finished if offset >= mark.position}
                assert expand(mark, among=log) == above
                held = [each for each in log if mark.position <= each <= received]
                assert low_water.span == len(held)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from([0, 20, 60, METADATA_BYTES_MAX]))
def test_promise_3_a_crash_at_any_point_loses_nothing_and_repeats_only_what_it_must(
    data: st.DataObject, metadata_bytes_max: int
) -> None:
    """Kills, clean stops and commits in any order, through the text that stands with a commit."""
    log = data.draw(st.lists(st.integers(0, 300), unique=True, max_size=40).map(sorted))
    committed: tuple[int, str] = (0, "")
    ended: set[int] = set()
    repeats: set[int] = set()
    owed: set[int] = set()
    """What is known to come again, from the last crash on."""
    for _ in range(4):
        ended_since_commit: set[int] = set()
        position, text = committed
        low_water = LowWater(Mark(position=position, finished=decode(position, text) or ()))
        to_come = [offset for offset in log if offset >= position]
        lost = {offset for offset in log if offset < position} - ended
        assert not lost
        started: dict[int, int] = {}
        left_out: set[int] = set()
        for _ in range(data.draw(st.integers(0, 60))):
            choice = data.draw(st.sampled_from(["receive", "end", "commit"]))
            if choice == "receive" and to_come:
                offset = to_come.pop(0)
                place = low_water.start(offset)
                if place is None:
                    assert offset in ended, "only what ended may be passed over"
                else:
                    started[offset] = place
                    repeats |= {offset} & ended
            elif choice == "end" and started:
                offset = data.draw(st.sampled_from(sorted(started)))
                low_water.finish(started.pop(offset))
                ended.add(offset)
                owed.discard(offset)
                ended_since_commit.add(offset)
            elif choice == "commit":
                mark = low_water.mark()
                text = encode(mark, bytes_max=metadata_bytes_max).text
                committed = mark.position, text
                kept = Mark(position=mark.position, finished=decode(mark.position, text) or ())
                left_out = expand(mark, among=log) - expand(kept, among=log)
                ended_since_commit = set()
        must = owed | ended_since_commit | left_out | set(started)
        position, text = committed
        known = Mark(position=position, finished=decode(position, text) or ())
        to_repeat = {o for o in ended if o >= position} - expand(known, among=log)
        assert to_repeat <= must, "only what is open, or ended since the last commit"
        owed = to_repeat
    assert repeats <= ended


def test_offsets_that_never_come_leave_no_hole() -> None:
    mark = LowWater(Mark(position=0))
    first, second = mark.start(5), mark.start(9)
    assert first is not None
    assert second is not None
    mark.finish(first)
    assert mark.position == 9
    mark.finish(second)
    assert mark.position == 10


def test_an_offset_that_does_not_rise_is_refused() -> None:
    mark = LowWater(Mark(position=3))
    mark.start(4)
    with pytest.raises(ValueError, match="comes after"):
        mark.start(4)
    with pytest.raises(ValueError, match="comes after"):
        LowWater(Mark(position=3)).start(2)


@pytest.mark.parametrize("number", [0, 1, 9])
def test_only_an_open_record_can_be_finished(number: int) -> None:
    mark = LowWater(Mark(position=0))
    for offset in (1, 2, 3):
        mark.start(offset)
    mark.finish(0)
    mark.finish(1)
    with pytest.raises(ValueError, match="not started"):
        mark.finish(number)


def test_what_is_done_is_forgotten_in_the_long_run() -> None:
    mark = LowWater(Mark(position=0))
    for offset in range(3 * module.TRIM_RECORDS_MIN):
        place = mark.start(offset)
        assert place is not None
        mark.finish(place)
    assert len(mark._offsets) < module.TRIM_RECORDS_MIN
    assert (mark.position, mark.span) == (3 * module.TRIM_RECORDS_MIN, 0)


def test_a_mark_names_no_more_ranges_than_it_may() -> None:
    mark = LowWater(Mark(position=0))
    places = [mark.start(offset) for offset in range(2 * RANGES_MAX + 100)]
    for place in places[1::2]:
        assert place is not None
        mark.finish(place)
    assert len(mark.mark().finished) == RANGES_MAX


def test_offsets_without_a_record_are_passed_and_what_was_finished_there_is_forgotten() -> None:
    low_water = LowWater(Mark(position=10, finished=((12, 13), (15, 18))))
    low_water.pass_to(16)
    assert low_water.mark() == Mark(position=16, finished=((16, 18),))
    assert low_water.version == 1
    low_water.pass_to(15)
    assert (low_water.position, low_water.version) == (16, 1)
    with pytest.raises(ValueError, match="comes after"):
        low_water.start(15)


def test_offsets_are_not_passed_beyond_a_record_that_is_open() -> None:
    low_water = LowWater(Mark(position=0))
    place = low_water.start(3)
    low_water.pass_to(7)
    assert low_water.position == 3
    assert place is not None
    low_water.finish(place)
    assert low_water.position == 7
