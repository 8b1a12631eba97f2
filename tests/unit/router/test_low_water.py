"""The low-water mark equals what a brute-force model says, whatever ends in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router.domain.low_water import LowWater


@given(st.data())
def test_the_mark_is_the_first_started_offset_that_is_not_finished(data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, 5))
    mark = LowWater(begin)
    started: list[int] = []
    finished: set[int] = set()
    for _ in range(data.draw(st.integers(0, 40))):
        unfinished = [offset for offset in started if offset not in finished]
        choice = data.draw(st.integers(0, 2 * len(unfinished)))
        if choice < len(unfinished):
            offset = unfinished[choice]
            mark.finish(offset)
            finished.add(offset)
        else:
            offset = (started[-1] + 1 if started else begin) + data.draw(st.integers(0, 3))
            mark.start(offset)
            started.append(offset)
        unfinished = [offset for offset in started if offset not in finished]
        newest = started[-1] + 1 if started else begin
        assert mark.position == (unfinished[0] if unfinished else newest)
        assert all(offset in finished for offset in started if offset < mark.position)
        assert mark.span == sum(1 for offset in started if offset >= mark.position)


def test_offsets_that_never_come_leave_no_hole() -> None:
    mark = LowWater(0)
    mark.start(5)
    mark.start(9)
    mark.finish(5)
    assert mark.position == 9
    mark.finish(9)
    assert mark.position == 10


def test_an_offset_that_does_not_rise_is_refused() -> None:
    mark = LowWater(3)
    mark.start(4)
    with pytest.raises(ValueError, match="comes after"):
        mark.start(4)
    with pytest.raises(ValueError, match="comes after"):
        LowWater(3).start(2)


@pytest.mark.parametrize("offset", [1, 2, 9])
def test_only_an_open_offset_can_be_finished(offset: int) -> None:
    mark = LowWater(0)
    mark.start(1)
    mark.start(2)
    mark.start(3)
    mark.finish(1)
    mark.finish(2)
    with pytest.raises(ValueError, match="not started"):
        mark.finish(offset)
