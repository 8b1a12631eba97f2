"""Which of the machine's clocks is asked."""

import sys
import time
from collections.abc import Callable

import pytest
from router.adapters.system_clock import SystemClock as RouterClock
from runner.adapters.system_clock import SystemClock as RunnerClock
from servicekit.clock import monotonic_s


@pytest.mark.parametrize(
    "asked_s", [monotonic_s, RouterClock().monotonic_s, RunnerClock().monotonic_s]
)
def test_the_clock_of_leases_goes_on_while_the_machine_is_suspended(
    asked_s: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that slept for an hour went on as if it owned what it had before, and its catalog
    as if it had just been heard of."""
    goes_on = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC
    asked = time.clock_gettime

    def an_hour_later(clock: int) -> float:
        return asked(clock) + 3_600 * (clock == goes_on)

    before_s = asked_s()
    monkeypatch.setattr(time, "clock_gettime", an_hour_later)
    assert asked_s() - before_s > 3_599
