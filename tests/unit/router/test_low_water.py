"""The low-water mark equals what a brute-force model says, whatever ends in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router.domain.low_water import LowWater, Mark


def expand(mark: Mark, *, among: list[int]) -> set[int]:
    """The records that a mark calls finished above its position."""
    return {offset for offset in among for first, last in mark.finished if first <= offset <= last}


@given(st.data())
def test_the_mark_is_the_first_offset_not_done_and_what_is_finished_above_it(
    data: st.DataObject,
) -> None:
    log = data.draw(st.lists(st.integers(0, 40), unique=True, max_size=25).map(sorted))
    finished: set[int] = set()
    mark = Mark(position=0)
    for _ in range(3):  # three assignments, each begins where the last one was settled
        low_water = LowWater(mark)
        started: list[int] = []
        to_come = [offset for offset in log if offset >= mark.position]
        for _ in range(data.draw(st.integers(0, 30))):
            unfinished = [offset for offset in started if offset not in finished]
            choice = data.draw(st.integers(0, 2 * len(unfinished) + 1))
            if choice < len(unfinished):
                low_water.finish(unfinished[choice])
                finished.add(unfinished[choice])
            elif to_come:
                offset = to_come.pop(0)
                assert low_water.start(offset) == (offset not in finished)
                started.append(offset)
            mark = low_water.mark()
            open_offsets = [offset for offset in started if offset not in finished]
            newest = started[-1] + 1 if started else LowWater(mark).position
            assert mark.position == low_water.position
            assert mark.position == (open_offsets[0] if open_offsets else newest)
            assert all(offset in finished for offset in log if offset < mark.position)
            above = {offset for offset in finished if offset >= mark.position}
            assert expand(mark, among=log) == above
            assert low_water.span == sum(1 for each in started if each >= mark.position)


def test_offsets_that_never_come_leave_no_hole() -> None:
    mark = LowWater(Mark(position=0))
    mark.start(5)
    mark.start(9)
    mark.finish(5)
    assert mark.position == 9
    mark.finish(9)
    assert mark.position == 10


def test_an_offset_that_does_not_rise_is_refused() -> None:
    mark = LowWater(Mark(position=3))
    mark.start(4)
    with pytest.raises(ValueError, match="comes after"):
        mark.start(4)
    with pytest.raises(ValueError, match="comes after"):
        LowWater(Mark(position=3)).start(2)


@pytest.mark.parametrize("offset", [1, 2, 9])
def test_only_an_open_offset_can_be_finished(offset: int) -> None:
    mark = LowWater(Mark(position=0))
    mark.start(1)
    mark.start(2)
    mark.start(3)
    mark.finish(1)
    mark.finish(2)
    with pytest.raises(ValueError, match="not started"):
        mark.finish(offset)
