"""Which of the machine's clocks is asked."""

import sys
import time

import pytest
from router.adapters.system_clock import SystemClock


def test_the_clock_of_leases_goes_on_while_the_machine_is_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that slept for an hour went on as if it owned what it had before."""
    goes_on = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC
    asked = time.clock_gettime

    def an_hour_later(clock: int) -> float:
        return asked(clock) + 3_600 * (clock == goes_on)

    clock = SystemClock()
    before_s = clock.monotonic_s()
    monkeypatch.setattr(time, "clock_gettime", an_hour_later)
    assert clock.monotonic_s() - before_s > 3_599
