"""Full jitter: never above the ceiling, never negative, for any attempt."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servicekit.backoff import ceiling_s, delay_s

attempts = st.integers(min_value=1, max_value=10**9)
firsts = st.floats(min_value=1e-3, max_value=10)
longests = st.floats(min_value=10, max_value=3_600)
factors = st.floats(min_value=1, max_value=100)
randoms = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(attempts, firsts, longests, factors, randoms)
def test_a_delay_lies_between_zero_and_the_longest(
    attempt: int, first_s: float, longest_s: float, factor: float, number: float
) -> None:
    delay = delay_s(
        attempt, first_s=first_s, longest_s=longest_s, factor=factor, random=lambda: number
    )
    assert 0 <= delay <= longest_s


@given(attempts, firsts, longests, factors)
def test_the_ceiling_never_falls_from_one_attempt_to_the_next(
    attempt: int, first_s: float, longest_s: float, factor: float
) -> None:
    here = ceiling_s(attempt, first_s=first_s, longest_s=longest_s, factor=factor)
    assert here <= ceiling_s(attempt + 1, first_s=first_s, longest_s=longest_s, factor=factor)


def test_the_ceiling_doubles_until_it_is_capped() -> None:
    ceilings = [ceiling_s(attempt, first_s=0.5, longest_s=3) for attempt in range(1, 6)]
    assert ceilings == [0.5, 1, 2, 3, 3]


def test_the_jitter_is_full() -> None:
    def delay(number: float) -> float:
        return delay_s(3, first_s=1, longest_s=60, random=lambda: number)

    assert [delay(0), delay(0.25), delay(0.5)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("attempt", "first_s", "longest_s", "factor"),
    [(0, 1, 2, 2), (1, 0, 2, 2), (1, 3, 2, 2), (1, 1, math.inf, 2), (1, 1, 2, 0.5)],
)
def test_senseless_arguments_are_refused(
    attempt: int, first_s: float, longest_s: float, factor: float
) -> None:
    with pytest.raises(ValueError, match=r"attempt|first_s|factor"):
        ceiling_s(attempt, first_s=first_s, longest_s=longest_s, factor=factor)
