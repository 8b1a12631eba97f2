"""Full jitter stays between zero and a ceiling that rises to a cap."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel.backoff import ceiling_s, delay_s

attempts = st.integers(min_value=1, max_value=10**9)


@given(attempts, st.floats(min_value=0, max_value=1, exclude_max=True))
def test_a_delay_lies_between_zero_and_its_ceiling(attempt: int, number: float) -> None:
    ceiling = ceiling_s(attempt, first_s=0.1, longest_s=30)
    delay = delay_s(attempt, first_s=0.1, longest_s=30, random=lambda: number)
    assert 0 <= delay <= ceiling <= 30


def test_the_ceiling_doubles_until_the_cap() -> None:
    ceilings = [ceiling_s(attempt, first_s=1, longest_s=10) for attempt in range(1, 7)]
    assert ceilings == [1, 2, 4, 8, 10, 10]


def test_an_attempt_beyond_the_range_of_floats_waits_the_longest() -> None:
    assert ceiling_s(10**6, first_s=1, longest_s=10) == 10


@pytest.mark.parametrize(
    ("attempt", "first_s", "longest_s", "factor"),
    [(0, 1, 2, 2), (1, 0, 2, 2), (1, 3, 2, 2), (1, 1, math.inf, 2), (1, 1, 2, 0.5)],
)
def test_arguments_out_of_range_are_refused(
    attempt: int, first_s: float, longest_s: float, factor: float
) -> None:
    with pytest.raises(ValueError, match=r"attempt|first_s|factor"):
        ceiling_s(attempt, first_s=first_s, longest_s=longest_s, factor=factor)
